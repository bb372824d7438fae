"""Optimizers of PyTorch, to be timed beside those of this library."""

import time

import numpy as np

# From our names to those of others: of PyTorch itself, and of pytorch_optimizer.
_OWN = {"Adam": "Adam", "RAdam": "RAdam", "Keras's SGD, momentum": "SGD"}
_OTHERS = {
    **{name: name for name in ("AdaBelief", "ADOPT", "AdEMAMix", "Adan", "AdaBound")},
    **{name: name for name in ("Yogi", "LARS", "NovoGrad", "SGDW", "Shampoo", "SOAP")},
    **{name: name for name in ("Prodigy", "DAdaptAdam")},
    "LAMB": "Lamb",
    "Lookahead around Adam": "Lookahead",
}
_OPTIONS = {"Keras's SGD, momentum": {"lr": 0.01, "momentum": 0.9}}


def torch_contestants(shapes, names):
    """From our names to contestants; {} where PyTorch is not installed."""
    try:
        import torch
    except ImportError:
        print("  PyTorch is not installed: its column is empty.")
        return {}
    kinds = {n: getattr(torch.optim, k) for n, k in _OWN.items()}
    try:
        import pytorch_optimizer
    except ImportError:
        print("  pytorch_optimizer is not installed: most of its column is empty.")
    else:
        found = {n: getattr(pytorch_optimizer, k, None) for n, k in _OTHERS.items()}
        kinds |= {n: k for n, k in found.items() if k is not None}
    made = {}
    for name in names:
        if name in kinds:
            made[name] = TorchContestant(kinds[name], shapes, _OPTIONS.get(name, {}))
    return made


class TorchContestant:
    """An optimizer of PyTorch that makes updates when it is told to."""

    def __init__(self, kind, shapes, options):
        import torch

        rng = np.random.default_rng(0)
        self.weights = [
            torch.nn.Parameter(torch.tensor(rng.normal(size=s), dtype=torch.float32))
            for s in shapes
        ]
        for weight in self.weights:
            weight.grad = torch.randn_like(weight)
        if kind.__name__ == "Lookahead":
            self.optimizer = kind(torch.optim.Adam(self.weights))
        else:
            self.optimizer = kind(self.weights, **options)
        self.updates(3)

    def updates(self, count):
        """Makes updates; returns the time on the clock and that of the processor."""
        start = time.perf_counter(), time.process_time()
        for _ in range(count):
            self.optimizer.step()
        now = time.perf_counter(), time.process_time()
        return [b - a for a, b in zip(start, now, strict=True)]
