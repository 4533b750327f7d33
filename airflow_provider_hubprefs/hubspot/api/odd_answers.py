"""Read an answer of which not all is as documented, part by part: one odd row must not hide the others.

This is slow, and used only where an answer cannot be read as a whole. It knows no model; each says of itself what it
needs (``DECISIVE``) and what stands for one that cannot be read (``PLACEHOLDER``).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

UNREADABLE = "UNREADABLE"
"""The status of a row that cannot be read: no word that HubSpot knows, so it confirms nothing and permits nothing."""


@functools.cache
def _types_of(kind: Any) -> dict[str, Any]:
    return {field.name: field.type for field in msgspec.structs.fields(kind)}


class OddReader:
    """Reads parts of an answer.

    - A field that nothing decides by is absent where it cannot be read.
    - A row of which something decisive cannot be read has the status :data:`UNREADABLE`.

    :param decode_time: makes a time of what JSON has.
    :param subscriber: for rows that do not name theirs, where the call was about one.
    """

    def __init__(self, decode_time: Callable[[type, object], Any], subscriber: str | None) -> None:
        self._decode_time = decode_time
        self._subscriber = subscriber

    def read(self, value: object, kind: Any) -> Any:
        """Read an answer's value.

        :param value: as JSON has it.
        :param kind: the model.
        :raises msgspec.ValidationError: what every answer must have cannot be read.
        """
        return self._struct(value, msgspec.inspect.type_info(kind))

    def _struct(self, value: object, info: Any) -> Any:
        kind = info.cls
        if not isinstance(value, dict):
            return self._placeholder(kind, {})
        kept: dict[str, Any] = {}
        odd = False
        types = _types_of(kind)
        for field in info.fields:
            if field.encode_name not in value:
                odd |= field.required
                continue
            try:
                kept[field.name] = self._field(value[field.encode_name], field.type, types[field.name])
            except msgspec.ValidationError:
                odd |= field.required or field.name in getattr(kind, "DECISIVE", ())
        return self._placeholder(kind, kept) if odd else kind(**kept)

    def _field(self, value: object, info: Any, annotation: Any) -> Any:
        options = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
        for option in options:
            items = option.item_type if isinstance(option, msgspec.inspect.ListType) else None
            if isinstance(items, msgspec.inspect.StructType) and isinstance(value, list):
                return [self._item(item, items) for item in value]
        return self._convert(value, annotation)

    def _item(self, value: object, info: Any) -> Any:
        try:
            return self._convert(value, info.cls)
        except msgspec.ValidationError:
            return self._struct(value, info)

    def _convert(self, value: object, kind: Any) -> Any:
        return msgspec.convert(value, kind, strict=False, dec_hook=self._decode_time)

    def _placeholder(self, kind: Any, kept: dict[str, Any]) -> Any:
        """Stand for one that cannot be read.

        :raises msgspec.ValidationError: nothing can.
        """
        stands = getattr(kind, "PLACEHOLDER", None)
        if stands is None:
            raise msgspec.ValidationError("unreadable")
        made = {**stands, **kept}
        if "status" in stands:
            made["status"] = UNREADABLE
        if not made.get("subscriber", True) and self._subscriber is not None:
            made["subscriber"] = self._subscriber
        return kind(**made)
