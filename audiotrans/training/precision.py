"""The arithmetic that a device is quick in."""

from __future__ import annotations

import torch


def quick_precision(asked: str, device: torch.device) -> str:
    """Return ``float32`` in place of ``bf16`` where a CPU would only imitate it, which is many times as slow.

    Args:
        asked: ``bf16`` or ``float32``, the recipe's.
        device: where to train.
    """
    return "float32" if asked == "bf16" and device.type == "cpu" and not cpu_has_bf16() else asked


def cpu_has_bf16() -> bool:
    """Tell whether torch's CPU library, oneDNN, computes in bf16 here."""
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # built without oneDNN
        return False
