"""The work of ``audiotrans serve`` without its server: orders, limits, formats, stopping, and folders that go."""

from __future__ import annotations

import inspect
import os
import runpy
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from audiotrans.audio import probe, read
from audiotrans.cli import main
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.web import server
from audiotrans.web.work import OWN_FORMAT, Limits, Order, Stopped, Workshop, plainly
from tests.folders import write_tone

pytestmark = pytest.mark.e2e
LIMITS = Limits(minutes=0.1, megabytes=1, files=3)


@pytest.fixture
def shop(model: Path, tmp_path: Path) -> Workshop:
    return Workshop([str(model)], tmp_path.resolve() / "root", LIMITS)


def order(shop: Workshop, *files: Path, to: str = "", **options: object) -> Order:
    name = next(iter(shop.paths))
    return Order(files, name, to or shop.converter(name).domains[1], options)


def tone(shop: Workshop, name: str = "up/a.wav", hertz: float = 440.0, seconds: float = 0.5) -> Path:
    return write_tone(shop.folder / name, hertz, seconds)


def jobs(shop: Workshop) -> list[Path]:
    return sorted(shop.folder.glob("job-*"))


def test_files_of_one_name_and_a_broken_one_in_one_job(shop: Workshop) -> None:
    evil = shop.folder / "up" / "evil.wav"
    one, two = tone(shop, "up/1/a.wav"), tone(shop, "up/2/a.wav", 300.0, 0.3)
    evil.write_bytes(b"RIFF" + bytes(100))
    told: list[tuple[float, float, str]] = []
    done = shop.convert("user", order(shop, one, evil, two), lambda *each: told.append(each))
    assert len({pair.after.name for pair in done.pairs}) == 2
    assert [probe(pair.after).frames for pair in done.pairs] == [probe(one).frames, probe(two).frames]
    (line,) = done.refused
    assert line.startswith("evil.wav")
    assert "\n" not in line
    assert str(shop.folder) not in line
    shares = [share for share, _, _ in told]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == pytest.approx(1)
    assert {label for _, _, label in told} >= {"a.wav (1 of 3)", "a.wav (3 of 3)"}
    assert shop.download(done, OWN_FORMAT).name == "audiotrans.zip"
    with zipfile.ZipFile(shop.download(done, "flac")) as packed:
        assert sorted(packed.namelist()) == sorted(pair.after.with_suffix(".flac").name for pair in done.pairs)


def test_every_format_holds_the_same_sound(shop: Workshop) -> None:
    source = tone(shop, "up/a.flac")
    done = shop.convert("user", order(shop, source))
    made = {kind: shop.download(done, kind) for kind in (OWN_FORMAT, "wav", "flac")}
    assert [path.suffix for path in made.values()] == [".flac", ".wav", ".flac"]
    waves = [read(path)[0] for path in made.values()]
    assert np.abs(waves[0] - waves[1]).max() <= 2**-15
    assert len(done.folder.name) > 20  # nobody guesses it
    with pytest.raises(UsageError, match="choose one of as it came, wav, flac"):
        shop.download(done, "exe")


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda shop: [], "nothing to convert yet"),
        (lambda shop: [tone(shop)] * 4, "4 files at once: at most 3"),
        (lambda shop: [tone(shop, seconds=7)], "a.wav is 0.1 minutes long: at most 0.1"),
        (lambda shop: [shop.folder / "up" / "none.wav"], "none.wav is gone"),
        (lambda shop: [Path(__file__)], "test_serve.py was not uploaded"),
        (lambda shop: [shop.folder / ".." / "root" / ".." / "x.wav"], "x.wav was not uploaded"),
        (lambda shop: [large(shop)], "large.wav has 2 MB: at most 1 MB"),
        (lambda shop: [shop.folder.joinpath("a.png")], "a.png is not for this model"),
    ],
)  # fmt: skip
def test_what_is_beyond_the_limits_is_refused_by_one_line(shop: Workshop, make: object, line: str) -> None:
    shop.folder.mkdir(parents=True)
    (shop.folder / "a.png").write_bytes(b"")
    with pytest.raises(AudiotransError) as refused:
        shop.convert("user", order(shop, *make(shop)))  # type: ignore[operator]
    said = plainly(str(refused.value))
    assert line in said
    assert "\n" not in said
    assert str(shop.folder) not in said
    assert jobs(shop) == []


def large(shop: Workshop) -> Path:
    path = shop.folder / "large.wav"
    path.write_bytes(bytes(2_000_000))
    return path


def test_options_are_checked(shop: Workshop) -> None:
    with pytest.raises(UsageError, match=r"strength 200 is outside 0..100"):
        shop.convert("user", order(shop, tone(shop), strength=200.0))
    with pytest.raises(UsageError, match="unknown model"):
        shop.convert("user", Order([tone(shop)], "none", "b", {}))


def test_a_stopped_job_leaves_nothing_and_the_next_begins(shop: Workshop) -> None:
    source = tone(shop, seconds=3.0)
    began, waited = threading.Event(), threading.Event()
    ends: list[str] = []

    def tell(share: float, left: float, label: str) -> None:
        began.set()
        waited.wait(10)

    def work(user: str) -> None:
        try:
            shop.convert(user, order(shop, source), tell)
            ends.append(f"{user} done")
        except Stopped:
            ends.append(f"{user} stopped")

    threads = [threading.Thread(target=work, args=(user,)) for user in ("one", "two", "three")]
    threads[0].start()
    assert began.wait(10)
    for thread in threads[1:]:
        thread.start()
    time.sleep(0.1)
    shop.stop("one")
    shop.stop("two")
    waited.set()
    for thread in threads:
        thread.join(30)
    assert sorted(ends) == ["one stopped", "three done", "two stopped"]
    assert len(jobs(shop)) == 1


def test_what_is_old_goes_and_room_is_counted(shop: Workshop) -> None:
    source = tone(shop)
    done = shop.convert("user", order(shop, source))
    hour = time.time() - 3601
    os.utime(done.folder, (hour, hour))
    shop.sweep()
    assert not done.folder.exists()
    assert source.exists()
    assert shop.has_room()
    full = Workshop([str(next(iter(shop.paths.values())))], shop.folder, Limits(gigabytes=1e-6))
    assert not full.has_room()


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_what_goes_while_it_is_looked_at_does_no_harm(shop: Workshop) -> None:
    shop.folder.mkdir(exist_ok=True)
    (shop.folder / "going").symlink_to(shop.folder / "gone")  # is listed, and is not there
    shop.sweep()
    assert shop.has_room()


def test_limits_and_models_are_checked(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="minutes 0: give a number above 0"):
        Limits(minutes=0)
    with pytest.raises(UsageError, match="no model 'none'"):
        Workshop(["none"], tmp_path)


@pytest.mark.parametrize(
    ("option", "value", "said"), [("--port", "99999", "0<=x<=65535"), ("--example", "none.wav", "does not exist")]
)
def test_what_cannot_be_served_is_refused_before_the_page_opens(option: str, value: str, said: str) -> None:
    refused = CliRunner().invoke(main, ["serve", option, value])
    assert refused.exit_code == 2
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_messages_lose_what_belongs_to_the_command_line(tmp_path: Path) -> None:
    source = tmp_path / "a.wav"
    line = f"{source}: sounds like piano: translate it with --from piano --to violin, or use another model"
    assert plainly(line, source) == "a.wav: sounds like piano: turn it from piano into violin, or use another model"
    assert len(plainly("x" * 9000)) == 400


def test_the_space_is_the_same_page_within_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[inspect.BoundArguments] = []
    real = inspect.signature(server.serving)

    @contextmanager
    def noted(*given: object, **named: object) -> Iterator[str]:
        asked.append(real.bind(*given, **named))
        yield ""

    with monkeypatch.context() as patch:
        patch.setattr(server, "serving", noted)
        patch.setattr(threading.Event, "wait", lambda self: True)
        runpy.run_path(str(Path(__file__).resolve().parents[2] / "docs" / "space" / "app.py"))
    (call,) = asked
    assert call.arguments["models"] == ["violin-piano"]
    assert call.arguments["limits"].minutes <= Limits().minutes
