"""Fields of a model's input that tell a playground which control to show: pydantic's `Field` with a `ui` hint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from entrepot.toolkit.models import Field

Maker = Callable[..., Any]


def _hinted(kind: str) -> Maker:
    def field(*args: Any, ui: Mapping[str, Any] | None = None, json_schema_extra: Any = None, **kwargs: Any) -> Any:
        def hint(schema: dict[str, Any]) -> None:
            own = schema.setdefault("ui", {})
            own.update(ui or {})
            own.setdefault("field", kind)

        if callable(json_schema_extra):
            given = json_schema_extra

            def extra(schema: dict[str, Any]) -> None:
                given(schema)
                hint(schema)

            return Field(*args, json_schema_extra=extra, **kwargs)
        fields = {**(json_schema_extra or {})}
        fields["ui"] = {**fields.get("ui", {})}
        hint(fields)
        return Field(*args, json_schema_extra=fields, **kwargs)

    wraps(Field)(field)
    field.__name__ = field.__qualname__ = f"{kind.title()}Field"
    field.__doc__ = f"""pydantic's `Field`, whose schema says `{{"ui": {{"field": "{kind}"}}}}`; `ui` adds hints."""
    return field


FileField = _hinted("file")
ImageField = _hinted("image")
VideoField = _hinted("video")
AudioField = _hinted("audio")
