"""A filter: one call in JSON per line in, its key or its error per line out. The encoding is that of vectors.json;
`py` holds params as a Python expression; with `canonicalOnly` the context need not be legal in a key."""

import json
import sys

from mizan_reference import MizanError, canonical, derive_cache_key


def nested(levels):
    inner = "x"
    for _ in range(levels - 1):
        inner = [inner]
    return {"a": inner}


ENCODINGS = {
    "$int": int,
    "$float": float,
    "$utf16": lambda digits: bytes.fromhex(digits).decode("utf-16-be", "surrogatepass"),
    "$map": lambda pairs: {decode(name): decode(value) for name, value in pairs},
    "$nest": nested,
    "$repeat": lambda parts: {parts[0]: parts[1] * parts[2]},
}


def decode(value):
    if type(value) is list:
        return [decode(item) for item in value]
    if type(value) is not dict:
        return value
    name, content = next(iter(value.items()), ("", None))
    if len(value) == 1 and name in ENCODINGS:
        return ENCODINGS[name](content)
    return {name: decode(item) for name, item in value.items()}


def answer(call):
    secret = bytes.fromhex(call["secretHex"]) if call.get("secretHex") is not None else decode(call["secret"])
    params = eval(call["py"]) if "py" in call else decode(call["params"])
    rest = (decode(call["context"]), params, decode(call["userId"]), decode(call["rev"]))
    try:
        if "canonicalOnly" in call:
            return {"canonical": canonical(*rest)}
        return {"key": derive_cache_key(secret, *rest), "canonical": canonical(*rest)}
    except MizanError as error:
        return {"error": error.code, "message": str(error)}


for line in sys.stdin:
    call = json.loads(line)
    print(json.dumps({"id": call["id"], **answer(call)}), flush=True)
