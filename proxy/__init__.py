"""The data plane: authenticate -> admit -> route -> relay -> meter -> settle. Raw ASGI on the hot path."""
