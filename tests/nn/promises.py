"""The contract tests that hold with other kernels too, to be collected there: ``from tests.nn.promises import *``."""

from tests.nn.test_contract import (
    test_arrays_have_the_shapes_that_were_told,
    test_backward_changes_neither_its_gradient_nor_parameters_nor_cache,
    test_caches_of_several_passes_live_side_by_side,
    test_forward_changes_neither_parameters_nor_input,
    test_gradients_are_added_to_what_is_there,
    test_strides_do_not_matter,
    test_the_precision_is_kept,
    test_without_a_place_for_gradients_the_input_gradient_is_the_same,
    test_without_an_input_gradient_the_parameter_gradients_are_the_same,
)
from tests.nn.test_second_gradients import (
    test_gradients_are_added_and_nothing_else_changes,
    test_it_is_the_adjoint_of_backward,
    test_shapes_and_precision_are_kept,
)

__all__ = [
    "test_arrays_have_the_shapes_that_were_told",
    "test_backward_changes_neither_its_gradient_nor_parameters_nor_cache",
    "test_caches_of_several_passes_live_side_by_side",
    "test_forward_changes_neither_parameters_nor_input",
    "test_gradients_are_added_and_nothing_else_changes",
    "test_gradients_are_added_to_what_is_there",
    "test_it_is_the_adjoint_of_backward",
    "test_shapes_and_precision_are_kept",
    "test_strides_do_not_matter",
    "test_the_precision_is_kept",
    "test_without_a_place_for_gradients_the_input_gradient_is_the_same",
    "test_without_an_input_gradient_the_parameter_gradients_are_the_same",
]
