"""An origin that knows no leases: plain GET, SET and DEL with redis-py, under the reference's keys.

Started with a Redis URL, the secret, and the directory of the reference; a call in JSON per line in, its answer out."""

import json
import sys

import redis

url, secret, reference = sys.argv[1:]
sys.path.insert(0, reference)
from mizan_reference import derive_cache_key  # noqa: E402

client = redis.Redis.from_url(url)


def answer(call):
    key = derive_cache_key(secret, call["context"], call["params"], call.get("userId"), call.get("rev", 0))
    if call["command"] == "key":
        return key
    if call["command"] == "set":
        return client.set(key, call["value"].encode("utf-8"), ex=3600)
    if call["command"] == "del":
        return client.delete(key)
    try:
        value = client.get(key)
    except redis.ResponseError as error:
        return {"failed": str(error)}  # a failed read: the origin loads for itself
    return None if value is None else value.decode("utf-8")


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
