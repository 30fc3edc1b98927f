"""Eliminating stable neurons: the forms are the network, within the errors they state."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from tests.verifiers.lp.nets import forward, intervals, layer, random_chain
from verifiers.lp.input_set import InputSet
from verifiers.sdp.forms import eliminate_stable


def problem(seed: int, sizes=(3, 6, 5, 3), radius=0.4, scale=1.0):
    rng = np.random.default_rng(seed)
    layers = random_chain(rng, sizes)
    layers[1] = layer(scale * layers[1].weight.toarray(), scale * layers[1].bias)
    center = rng.normal(size=sizes[0])
    inputs = InputSet(center - radius, center + radius)
    return layers, inputs, intervals(layers, inputs)


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
@pytest.mark.parametrize("seed", range(6))
def test_forms_reproduce_the_network(seed, scale):
    layers, inputs, spans = problem(seed, scale=scale)
    forms = eliminate_stable(layers, inputs, spans, 1)
    xi = np.random.default_rng(0).uniform(-1, 1, size=(50, 3))
    v = forms.behaviours(xi)
    assert (np.abs(v) <= 1.0).all()
    center, radius = (inputs.lower + inputs.upper) / 2, (inputs.upper - inputs.lower) / 2
    logits = forward(layers, center + radius * xi)
    assert np.allclose(v @ forms.margins.T, logits[:, 1:2] - logits, rtol=1e-9, atol=1e-9 * scale)
    assert forms.layers == tuple(int(((low < 0) & (up > 0)).sum()) for low, up in spans)
    assert np.abs(forms.margins[1]).max() == 0.0


@pytest.mark.parametrize("seed", range(4))
def test_stated_errors_cover_the_exact_network(seed):
    """In rational arithmetic: the exact margin differs from the exact value of its form by at most the error."""
    layers, inputs, spans = problem(seed)
    forms = eliminate_stable(layers, inputs, spans, 0)
    rng = np.random.default_rng(seed)
    for x in rng.uniform(inputs.lower, inputs.upper, size=(5, 3)):
        v, logits = exact_coordinates(layers, inputs, spans, forms, x)
        for other in (1, 2):
            form = sum((Fraction(c) * value for c, value in zip(forms.margins[other], v, strict=True)), Fraction(0))
            assert abs(form - (logits[0] - logits[other])) <= Fraction(float(forms.margin_errors[other]))
        assert forms.margin_errors.max() < 1e-10


def exact_coordinates(layers, inputs, spans, forms, x):
    """(v, logits) of the network at `x` as fractions; the coordinates of the inputs are recovered from the forms."""
    center = inputs.lower + (inputs.upper - inputs.lower) / 2
    reach = [
        max(Fraction(u) - Fraction(c), Fraction(c) - Fraction(low))
        for low, u, c in zip(inputs.lower, inputs.upper, center, strict=True)
    ]
    # the radius that eliminate_stable uses is at least this and at most one step in the last place more
    radius = [
        Fraction(np.nextafter(float(r), np.inf)) if Fraction(float(r)) <= r else Fraction(float(r)) for r in reach
    ]
    values = [Fraction(c) for c in x]
    v = [Fraction(1)] + [(value - Fraction(c)) / r for value, c, r in zip(values, center, radius, strict=True)]
    place = 0
    for depth, one in enumerate(layers):
        rows = one.weight.toarray()
        values = [
            sum((Fraction(w) * value for w, value in zip(row, values, strict=True)), Fraction(b))
            for row, b in zip(rows, one.bias, strict=True)
        ]
        if depth < len(layers) - 1:
            values = [max(value, Fraction(0)) for value in values]
            for i in np.flatnonzero((spans[depth][0] < 0) & (spans[depth][1] > 0)):
                half = Fraction(forms.peak[place] / 2)
                v.append(values[i] / half - 1)
                place += 1
    return v, values


def test_a_rounded_layer_adds_its_error():
    layers, inputs, spans = problem(0)
    stated = [replace(layers[0], weight_error=1e-3, bias_error=1e-3), *layers[1:]]
    plain = eliminate_stable(layers, inputs, spans, 0)
    rounded = eliminate_stable(stated, inputs, spans, 0)
    count = plain.layers[0]
    assert (rounded.errors[:count] > plain.errors[:count] + 1e-3).all()


def test_a_point_has_no_radius():
    layers, _, _ = problem(0)
    point = np.array([0.1, 0.2, 0.3])
    inputs = InputSet(point, point)
    forms = eliminate_stable(layers, inputs, intervals(layers, inputs), 0)
    assert np.abs(forms.margins[:, 1 : 1 + 3]).max() == 0.0
