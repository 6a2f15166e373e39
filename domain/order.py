"""The visiting order: who is asked about first, and so who is in a sample."""

import hashlib

ORDER_KEY = "facesweep-order"


def visiting(url: str, version: str) -> str:
    """An object's place in the visiting order: 32 hex digits that sort as the places do.

    A keyed hash of the object alone: the same for all providers and in every run. Nothing it is made of
    knows what a provider will say, so every prefix of the order is a simple random sample of the objects,
    and a larger sample goes on where a smaller one ended.
    """
    return hashlib.sha256(f"{ORDER_KEY}\n{version}\n{url}".encode()).hexdigest()[:32]
