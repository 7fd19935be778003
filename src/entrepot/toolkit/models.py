"""Pydantic, which the toolkit's types need and the bare client does not have."""

from __future__ import annotations

from entrepot.client.extras import install_command

try:
    from pydantic import (
        BaseModel,
        ConfigDict,
        Field,
        GetCoreSchemaHandler,
        GetJsonSchemaHandler,
        PrivateAttr,
        model_validator,
    )
    from pydantic_core import core_schema
except ImportError as error:  # pydantic 1 has half of these names
    how = f"The file and input types of entrepot.toolkit need pydantic 2: {install_command('toolkit')}"
    raise ImportError(how) from error

__all__ = [
    "BaseModel",
    "ConfigDict",
    "Field",
    "GetCoreSchemaHandler",
    "GetJsonSchemaHandler",
    "PrivateAttr",
    "core_schema",
    "model_validator",
]
