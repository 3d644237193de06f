"""Serving a potential to i-PI: address, wire format, driver loop, plug-in, supervisor."""
