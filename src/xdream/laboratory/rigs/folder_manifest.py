"""The safe protocol's two files: the manifest that tells a rig what to show, and the answer to it.

An answer is `{"session", "block", "fence", "rows": how many, "responses": [...], "last": ...}`, or, with a
checksum, `{"answer": that as text, "sha256": of the text}`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from xdream.laboratory.rigs.base import Answer, Block
from xdream.laboratory.rigs.forms import (
    Json,
    MessageError,
    count_of,
    flag_of,
    only_fields,
    read_responses,
    short,
    text_of,
)
from xdream.laboratory.rigs.json_messages import ANSWER_FIELDS, header_json, loads, presentation_json


def manifest(block: Block, files: Mapping[int, tuple[str, str]], channels: Sequence[str]) -> bytes:
    """What a rig is to show. files: by place, (name, sha256 of the file)."""
    order = [
        presentation_json(one) | {"file": files[one.place][0], "sha256": files[one.place][1]}
        for one in block.presentations
    ]
    return json.dumps(header_json(block, order, channels), indent=1).encode()


def written_answer(
    session: str, block: int, fence: int, responses: Sequence[Mapping[str, Any]], *, last: bool
) -> bytes:
    """An answer with its checksum, as `read_answer` wants it."""
    text = json.dumps(
        {
            "session": session,
            "block": block,
            "fence": fence,
            "last": last,
            "rows": len(responses),
            "responses": list(responses),
        }
    )
    return json.dumps({"answer": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}).encode()


def read_answer(data: bytes, source: str, channels: int) -> Answer:
    """The answer in a file. channels: of the session. Raises MessageError, and nothing else."""
    said = _object(data)
    if "answer" in said:
        only_fields(said, ("answer", "sha256"), "the file")
        text = said["answer"]
        if not isinstance(text, str):
            raise MessageError("answer is no text")
        inner = text.encode("utf-8", "replace")
        found = hashlib.sha256(inner).hexdigest()
        if said.get("sha256") != found:
            raise MessageError(f"sha256 of the answer is {found}, not {short(said.get('sha256'))}")
        said = _object(inner)
    only_fields(said, (*ANSWER_FIELDS, "rows"), "the answer")
    responses = read_responses(said.get("responses"), channels)
    if (rows := count_of(said, "rows")) != len(responses):
        raise MessageError(f"rows says {rows}, but there are {len(responses)} responses")
    return Answer(
        responses,
        session=text_of(said, "session"),
        block=count_of(said, "block"),
        fence=count_of(said, "fence"),
        last=flag_of(said, "last"),
        source=source,
    )


def _object(data: bytes) -> Json:
    if not data:
        raise MessageError("the file is empty")
    # Programs on Windows write a mark before the text, or UTF-16. How long a file may be is the bridge's
    # option, and one with a checksum is full of escapes.
    with contextlib.suppress(UnicodeDecodeError):
        data = data.decode(json.detect_encoding(data)).encode()
    said = loads(data, bounded=False)
    if not isinstance(said, dict):
        raise MessageError("it is no JSON object")
    return said
