"""One thread per test process: small tensors gain nothing from more, and lose a lot on a busy machine."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
