"""What an operator's doctor looks at, a module for each subject: facts, and what to do about them.

A look only reads, needs no server, prints no secret and makes nothing: no folder, no key, no migration. It
tells its findings as it comes to them, so that those are known that came before it hung. `examination.py`
knows which looks there are, `rounds.py` has them look at the same time and bounds them all; neither knows
who asks.
"""
