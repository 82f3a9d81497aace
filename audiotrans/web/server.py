"""The server of the page: Gradio's, behind a guard, with a folder of its own that goes when it ends."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from audiotrans.errors import UsageError, names_extras
from audiotrans.web.work import Limits, Workshop

HOST, PORT = "127.0.0.1", 7860

SWEEP_SECONDS = 60.0


@contextmanager
@names_extras()
def serving(
    models: Sequence[str],
    *,
    host: str = HOST,
    port: int = PORT,
    limits: Limits | None = None,
    examples: Sequence[Path] = (),
    device: str = "auto",
    open_browser: bool = False,
) -> Iterator[str]:
    """Serve the page while the context lasts.

    Args:
        models: names or weights files; the first is the page's default.
        host: address to listen at; other machines reach ``0.0.0.0``.
        port: to listen at; 0 takes a free one.
        limits: what is taken on.
        examples: sounds that the page offers to try.
        device: see `load_any`.
        open_browser: whether to open the page in the user's browser.

    Yields:
        The page's address.

    Raises:
        UsageError: for an unknown model, or a port that is taken.
    """
    limits = limits or Limits()
    with tempfile.TemporaryDirectory(prefix="audiotrans-serve-", ignore_cleanup_errors=True) as folder:
        root = Path(folder).resolve()
        os.environ["GRADIO_TEMP_DIR"] = str(root)  # before Gradio is imported: uploads go there
        from audiotrans.web.layout import Page, asset, head, theme

        shop = Workshop(models, root, limits, device)
        place = "on this computer" if host in ("127.0.0.1", "localhost", "::1") else "on this server"
        page = Page(shop, [path.resolve() for path in examples], place).blocks()
        ended = threading.Event()
        threading.Thread(target=_sweep, args=(shop, ended), daemon=True).start()
        try:
            _, address, _ = page.launch(
                server_name=host,
                server_port=port or _free_port(host),
                prevent_thread_lock=True,
                inbrowser=open_browser,
                share=False,
                quiet=True,
                ssr_mode=False,
                pwa=False,
                mcp_server=False,
                enable_monitoring=False,
                show_error=True,
                max_file_size=int(limits.megabytes * 1e6),
                footer_links=["api"],
                theme=theme(),
                css=asset("layout.css"),
                head=head(),
                app_kwargs=_guarded(shop),
            )
        except OSError:
            raise UsageError(f"port {port} of {host} cannot be used: choose another with --port") from None
        try:
            yield address
        finally:
            ended.set()
            page.close(verbose=False)


def _guarded(shop: Workshop) -> dict[str, Any]:
    from starlette.middleware import Middleware

    from audiotrans.web.middleware import Guard

    most = int(shop.limits.megabytes * 1e6 * shop.limits.files)
    return {"middleware": [Middleware(Guard, largest_upload=most, room=shop.has_room)]}


def _free_port(host: str) -> int:
    import socket

    with socket.socket() as found:
        found.bind((host, 0))
        return int(found.getsockname()[1])


def _sweep(shop: Workshop, ended: threading.Event) -> None:
    while not ended.wait(SWEEP_SECONDS):
        shop.sweep()
