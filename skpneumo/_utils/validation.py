"""Constraints of parameters, in the notation of scikit-learn, and a decorator that checks them."""

import functools
import inspect
import math
import os
from collections.abc import Callable
from numbers import Integral
from typing import Any, TypeVar

import numpy as np
from sklearn.utils._param_validation import Interval, InvalidParameterError, StrOptions, validate_parameter_constraints

from skpneumo._utils.messages import shortened

Constraints = dict[str, list[Any]]
Function = TypeVar("Function", bound=Callable[..., Any])


class Finite(Interval):
    """An interval of finite numbers; unlike in an interval of scikit-learn, booleans are not numbers."""

    def is_satisfied_by(self, val: Any) -> bool:
        """Return whether a value is in the interval."""
        if isinstance(val, bool) or not isinstance(val, self.type) or not abs(val) < math.inf:
            return False
        return (val if isinstance(val, Integral) else float(val)) in self


def choices(*options: str) -> Any:
    """Return the constraint to some strings, which errors list in this order."""
    return StrOptions(dict.fromkeys(options).keys())


BOOLEAN: list[Any] = ["boolean"]
COUNT: list[Any] = [Finite(Integral, 1, None, closed="left")]
N_JOBS: list[Any] = [Finite(Integral, None, -1, closed="right"), *COUNT, None]
PATH: list[Any] = [str, os.PathLike]
RANDOM_STATE: list[Any] = [Finite(Integral, 0, 2**32 - 1, closed="both"), np.random.RandomState, None]


def check_constraints(constraints: Constraints, values: dict[str, Any], caller: str) -> None:
    """Raise an error of limited length if a value does not meet one of its constraints."""
    try:
        validate_parameter_constraints(constraints, values, caller)
    except InvalidParameterError as error:
        raise InvalidParameterError(shortened(str(error), 500)) from None


def validated(**constraints: list[Any]) -> Callable[[Function], Function]:
    """Decorate a function so that it first checks these parameters.

    Unlike `validate_params` of scikit-learn, it also checks them inside functions of scikit-learn that disable nested
    checks.
    """

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        caller = function.__qualname__.removesuffix(".__init__")

        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            check_constraints(constraints, given.arguments, caller)
            return function(*args, **kwargs)

        return checked  # type: ignore[return-value]

    return decorate
