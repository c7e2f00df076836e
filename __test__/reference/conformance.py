"""A filter: one call in JSON per line in, its key or its error per line out. The encoding is that of vectors.json;
`py` holds params as a Python expression; with `canonicalOnly` the context need not be legal in a key."""

import json
import sys

from mizan_reference import MizanError, canonical, derive_cache_key


def decode(value):
    if type(value) is list:
        return [decode(item) for item in value]
    if type(value) is not dict:
        return value
    match value:
        case {"$int": digits}:
            return int(digits)
        case {"$float": digits}:
            return float(digits)
        case {"$utf16": digits}:
            return bytes.fromhex(digits).decode("utf-16-be", "surrogatepass")
        case {"$map": pairs}:
            return {decode(name): decode(item) for name, item in pairs}
        case {"$nest": levels}:
            inner = "x"
            for _ in range(levels - 1):
                inner = [inner]
            return {"a": inner}
        case {"$repeat": [name, text, count]}:
            return {decode(name): decode(text) * count}
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
