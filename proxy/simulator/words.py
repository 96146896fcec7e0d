"""The words that the simulated model knows (pure): its sentences' parts, and the commonest others."""

# The parts of a sentence; none begins with a vowel, for the article before it is `a`.
_ADJECTIVES = """
quiet careful bright distant patient silver gentle hidden curious steady weathered narrow golden simple
clever humble
"""
_NOUNS = """
river lantern harbor mountain garden engine letter window forest teacher market bridge compass orchard
signal island library captain meadow village machine story painter keeper number winter valley token
ledger traveler clock kitchen
"""
_VERBS = """
carries watches follows remembers measures repairs answers crosses guards studies counts keeps
"""
_PLACES = """
across behind near beyond under above beside inside
"""
_OPENINGS = """
Today Often Sometimes Later Yesterday Slowly Suddenly Again
"""
# Words of prompts.
_COMMON = """
the a an and or of to in is it you that he was for on are with as I his they be at one have this from had
hot by word but what some we can out other were all there when up use your how said each she which do
their time if will way about many then them write would like so these her long make thing see him two has
look more day could go come did my sound no most number who over know water than call first people may
down side been now find any new work part take get place made live where after back little only round man
year came show every good me give our very just name through great think say help tell please answer
question hello world hi weather list code python function return import print test text data user system
assistant model json true false null string integer explain short long summary sentence words city country
price date The What How Why When Who Write Hello You Please tool call arguments name def
"""

ADJECTIVES = tuple(_ADJECTIVES.split())
NOUNS = tuple(_NOUNS.split())
VERBS = tuple(_VERBS.split())
PLACES = tuple(_PLACES.split())
OPENINGS = tuple(_OPENINGS.split())
COMMON = tuple(_COMMON.split())
