"""``@task.datum``: a function of a datum as a task that evaluates what changed, and commits."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.decorator import DecoratedOperator, task_decorator_factory

from airflow_versioned.datums import VersionedDatumOperator

if TYPE_CHECKING:
    from airflow.sdk.bases.decorator import TaskDecorator


class DatumDecoratedOperator(DecoratedOperator, VersionedDatumOperator):
    """Evaluates a function of ``(datum, out)``; see `datum_task`."""

    custom_operator_name = "@task.datum"
    template_fields: Sequence[str] = ()

    def __init__(
        self,
        *,
        python_callable: Callable[..., object],
        op_args: Sequence[object],
        op_kwargs: Mapping[str, object],
        inputs: Any,  # noqa: ANN401 (an input of the core)
        output: str,
        name: str | None = None,
        pipeline_options: Mapping[str, Any] | None = None,
        **options: Any,  # noqa: ANN401 (BaseOperator's own)
    ) -> None:
        from versioned_io import pipeline

        if op_args or op_kwargs:
            msg = f"call {python_callable.__name__}() without arguments: a datum and its output are passed to it"
            raise ValueError(msg)
        called = name or python_callable.__name__
        made = pipeline(called, inputs=inputs, output=output, **(pipeline_options or {}))(python_callable)
        # Airflow checks at parse time that the function can be called.
        super().__init__(python_callable=python_callable, op_args=(None, None), op_kwargs={}, pipeline=made, **options)


def datum_task(python_callable: Callable[..., object] | None = None, **options: Any) -> "TaskDecorator":  # noqa: ANN401 (the operator's own)
    """Return a task that evaluates a function of ``(datum, out)`` for changed datums; written ``@task.datum(...)``.

    Args:
        python_callable: The function.
        options: ``inputs`` and ``output`` as for ``vio.pipeline``; ``pipeline_options`` are its other arguments, and
            ``name`` is the pipeline's name, by default the function's. The others are those of
            `VersionedDatumOperator`.
    """
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=False,
        decorated_operator_class=DatumDecoratedOperator,
        **options,
    )
