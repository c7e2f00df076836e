"""The reference of the cache key (protocol.md §1): what json.dumps prints, after exact type checks. Equal or error."""

import hmac
import json
import math
import re

MAX_BYTES = 1_048_576
INTEGERS = range(-(2**63), 2**64)
CONTEXT = re.compile(rb"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
PLAIN_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]{0,63}")
LITERAL = re.compile(r"[ !#-\[\]-~]+")  # what JSON writes as it is, one byte each
SHORT_ESCAPE = re.compile(r'["\\\b\t\n\f\r]')  # two bytes each; any other UTF-16 unit takes six


class MizanError(ValueError):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = "ERR_MIZAN_" + code


class Size:  # counts the canonical form before any of it is written, so that a huge input costs no escaping
    total = 0

    def add(self, count, path):
        self.total += count
        if self.total > MAX_BYTES:
            raise MizanError("SIZE", f"{path}: the canonical form is longer than {MAX_BYTES} bytes")


def encoded(text, encoding, path):
    try:
        return text.encode(encoding)
    except UnicodeEncodeError:
        raise MizanError("SURROGATE", f"{path}: an unpaired surrogate") from None


def text_of(text, path, size):
    size.add(2 + len(text), path)  # at the least, so that a huge text is not even searched
    units = len(encoded(text, "utf-16-le", path)) // 2
    literal, short = sum(map(len, LITERAL.findall(text))), len(SHORT_ESCAPE.findall(text))
    size.add(6 * units - 5 * literal - 4 * short - len(text), path)
    return text


def normalise(value, path, depth, size):
    kind = type(value)  # exactly: a subclass prints as json.dumps likes, not as another language would
    if kind is str:
        return text_of(value, path, size)
    if value is None or kind is bool:
        return text_of({None: "null", True: "true", False: "false"}[value], path, size)
    if kind is int:
        if value not in INTEGERS:
            raise MizanError("PARAM_NUMBER", f"{path}: outside [-2^63, 2^64-1]")
        return text_of(str(value), path, size)
    if kind is float:
        if not math.isfinite(value) or value.is_integer():
            raise MizanError("PARAM_NUMBER", f"{path}: not finite, or a float with an integral value")
        return text_of(repr(value), path, size)
    if kind is not list and kind is not dict:
        raise MizanError("PARAM_TYPE", f"{path}: {kind.__name__} has no canonical form")
    if depth > 32:
        raise MizanError("DEPTH", f"{path}: nested deeper than 32")
    size.add(max(2, 1 + len(value) * (2 if kind is dict else 1)), path)  # brackets, commas, colons
    if kind is list:
        return [normalise(item, f"{path}[{index}]", depth + 1, size) for index, item in enumerate(value)]
    members = {}
    for name, item in value.items():
        if type(name) is not str:
            raise MizanError("PARAM_TYPE", f"{path}: a key that is not a string")
        inner = f"{path}.{name}" if PLAIN_NAME.fullmatch(name) else f"{path}[{json.dumps(name[:64])}]"
        members[text_of(name, inner, size)] = normalise(item, inner, depth + 1, size)
    return members


def canonical(context, params=None, user_id=None, rev=0):
    if params is not None and type(params) is not dict:
        raise MizanError("PARAM_TYPE", "params: must be a dict or None")
    if type(rev) is not int or rev not in range(2**53):
        raise MizanError("REV", "rev: must be an integer in [0, 2^53-1]")
    size = Size()
    size.add(len(f'{{"c":,"p":,"r":{rev}}}'), "rev")
    call = {"c": text_of(context, "context", size), "p": normalise(params or {}, "params", 1, size), "r": rev}
    if user_id is not None:
        if type(user_id) is not str and (type(user_id) is not int or user_id not in INTEGERS):
            raise MizanError("USER", "user_id: must be a string, an integer in [-2^63, 2^64-1] or None")
        size.add(len(',"u":'), "user_id")
        call["u"] = normalise(user_id, "user_id", 1, size)
    return json.dumps(call, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def derive_cache_key(secret, context, params=None, user_id=None, rev=0):
    if type(context) is not str or not CONTEXT.fullmatch(encoded(context, "utf-8", "context")):
        raise MizanError("CONTEXT", "context: must match [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
    key = encoded(secret, "utf-8", "secret") if type(secret) is str else secret
    if type(key) is not bytes or not key:
        raise MizanError("SECRET", "secret: must be non-empty text or bytes")
    digest = hmac.new(key, canonical(context, params, user_id, rev).encode("ascii"), "sha256")
    return f"ctx:{context}:{digest.hexdigest()}"
