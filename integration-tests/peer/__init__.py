"""A second implementation of a syncd peer, written from docs/PROTOCOL.md alone.

It is here to show that the page says enough, and to be the base of peers that misbehave. It shares no code
with the daemon. Each module names the section of the page that it follows.

It must never be taken for a product: it holds whole files in memory and speaks to one daemon at a time.
"""
