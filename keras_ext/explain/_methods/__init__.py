"""Ways to explain, each with the same call."""

from collections.abc import Callable

from keras_ext.explain._methods._deep import Deep
from keras_ext.explain._methods._exact import Exact
from keras_ext.explain._methods._expected_gradients import ExpectedGradients
from keras_ext.explain._methods._integrated_gradients import IntegratedGradients
from keras_ext.explain._methods._kernel import Kernel
from keras_ext.explain._methods._owen import Owen
from keras_ext.explain._methods._permutation import Permutation
from keras_ext.explain._problem import Method, Problem

METHODS: dict[str, Callable[[Problem], Method]] = {
    "exact": Exact,
    "permutation": Permutation,
    "kernel": Kernel,
    "owen": Owen,
    "expected_gradients": ExpectedGradients,
    "integrated_gradients": IntegratedGradients,
    "deep": Deep,
}
WITHOUT_GRADIENTS = ("exact", "permutation", "kernel", "owen")
