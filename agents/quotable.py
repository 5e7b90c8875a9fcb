"""Which sentences of a page can be quoted alone: whole, about something, and not leaning on the sentence before.

Pages are written to be read from the top. A sentence that opens with "They" or "This", the tail of a list, a line of
navigation or an address reads as a mistake once it stands in a post by itself, so it is left where it is.
"""

from __future__ import annotations

import re

_LEADING = re.compile(
    r"""(?ix) ^["“'(]? (?:
      # A pronoun or demonstrative whose noun stands in another sentence.
      (?:they|he|she|him|his|her|hers|them|their|theirs|its|this|these|those|such|others?|another|both|either|neither|each)\b
      | that(?!\s+(?:is\s+why)?\s*people)\b
      | (?:some|many|most|several|all|none|any|one)\s+(?:of\s+(?:them|these|those|this|which)
          |are|is|have|has|can|may|might|will|were|was|do|also)\b
      | (?:here|there)\s+(?:is|are)\s+(?:some|a\s+few|several|the\s+following|examples|ways)\b
      # A connective that answers the sentence before.
      | (?:and|but|or|so|nor|yet|also|however|therefore|thus|hence|instead|otherwise|moreover|furthermore|besides|then|still
          |consequently|similarly|likewise|nevertheless|meanwhile|afterwards?|again|too|rather|else|plus|finally|lastly)\b(?!\s+as\b)
      | (?:for\s+(?:example|instance|this|these|that)|in\s+(?:addition|contrast|fact|this|these|other\s+words|that\s+case|such)
          |as\s+a\s+result|as\s+such|on\s+the\s+other\s+hand|because\s+of\s+(?:this|that|these)|at\s+the\s+same\s+time|after\s+that
          |after\s+this|at\s+this|at\s+that|by\s+doing\s+so|to\s+do\s+(?:this|so|that)|with\s+(?:this|these|that)
          |if\s+(?:so|not)|even\s+so|that\s+said)\b
      | (?:yes|no|first|second|third|next|some|many|most|all|physically|emotionally)\s*,
      | (?:some|many|most)\s+(?:you|we|I)\b
      | how\s+(?:much|many|often|long)\s+(?:you|they|it)\b
      # One of several that were named before.
      | the\s+(?:first|second|third|fourth|fifth|last|latter|former|same|other|others|next|rest|following|above|below)\b
      | (?:the|other|some|common|more|an)?\s*(?:other\s+)?examples?\s+(?:include|are|of|is)\b
      # A count of things that were named before; an instruction about what was being done.
      | (?:one|two|three|four|five|six|seven|eight|nine|ten|twelve|\d+)\s+(?:are|is|have|has|had|were|was|will|can|may|might)\b
      | (?:stop|repeat|continue|go\s+on)\s+(?:if|until|when|as\s+soon)\b
      | (?:nobody|no\s+one|everybody|everyone)\s+will\s+(?:mind|know|notice|care|see)\b
      | [\w'’-]+(?:,\s+[\w'’-]+)*\s+and\s+[\w'’-]+\s+(?:it|them)\b
      # It says of readers what somebody asked them before.
      | you\s+(?:might|may|could)\s+have\s+an?\b
      # A list behind its name: "You need: a bowl, ..."
      | (?:you\s+(?:will\s+)?need|you['’]ll\s+need|(?:not\s+)?included|ingredients|contents|equipment|tools|needed
          |places|prices?|when|where|dates?|what\s+to\s+bring|time|opening\s+hours)\s*:
      # It announces a list that a post does not show.
      | there\s+are\s+(?:at\s+least\s+)?(?:\w+\s+){0,2}(?:different\s+)?(?:types|kinds|ways|stages|parts|causes|reasons|steps|forms|main)\b
      | (?:symptoms?|signs?|treatments?|causes?|tests?|the\s+reports?|risk\s+factors|risks?|types?|problems)\s+
          (?:may\s+|can\s+|might\s+|also\s+)*(?:include|vary|depend|are|come)\b
      # A clause whose subject was named before.
      | (?:if|when|while|as|because|although|though|since|after|before|once|until|unless|whether)\s+
          (?:they|it|he|she|this|these|those|that|the\s+two)\b
    )"""
)
_IT = re.compile(r"(?i)^[\"“'(]?it(?:['’]s|['’]ll|\b)")
_EMPTY_IT = re.compile(
    r"(?ix) ^[\"“'(]? it(?:['’]s|\s+(?:is|was|can\s+be|may\s+be|might\s+be|takes|helps|pays|costs)) \s+"
    r"(?:\w+ly\s+|always\s+|never\s+|often\s+|not\s+|very\s+|a\s+|an\s+)*"
    r"(?:important|normal|natural|easy|easier|hard|harder|difficult|possible|best|better|good|great|helpful|safe|safer"
    r"|common|okay|ok|fine|time|wise|worth|enough|practice|courage|to|little)\b"
)
_DANGLING = re.compile(
    r"(?i)\b(?:for|of|to|with|about|from|by|on|in) (?:them|it|him|her|this|these|those|which)[.!]$"
    r"|,? (?:are|is) (?:some |an |other )?(?:examples?|the result|another)[.!]$|\bbe the result[.!]$"
    r"|, (?:however|therefore|though|instead|too|also|either|then)[,.!]"
    r"|\bboth (?:types|kinds|of (?:them|these|those))\b|\b(?:these|those)\b(?! (?:who|that|with|of|you|we|in|are)\b)"
    r"|\bthis\b(?! (?:week|year|month|morning|evening|afternoon|way|for later)\b)"
    r"|(?<!\bnot only )(?<!\bbut )\balso\b"
    r"|\b(?:another|each|the (?:first|second|other|last|right|wrong|big|small|old|new)) ones?\b|\blikes? it\b"
    r"|\b(?:ask|check|talk|call)\b[^.]* first[.!]$"
    r"|\bhow (?:much|many|often|long) you (?:should|need|can|may|will)\b[^,;]{0,12}[.!]$"
    # A bare number at the end counts what the sentence before spoke of, "later" goes on from there, "last month" is over.
    r"|\b(?:around|about|over|under|than|has|have|contains?|gets?|needs?)"
    r" (?:\d[\d.,]*|(?:twen|thir|for|fif|six|seven|eigh|nine)ty(?:-\w+)?)[.!]$"
    r"|\b(?:hours?|days?|weeks?|months?|years?) later\b|\blater[.!]$"
    r"|^last (?:night|week|month|year|season|spring|summer|autumn|fall|winter)\b"
    # The splitter takes a single letter for an initial: "... vitamins D and K. People who ..." are two sentences.
    r"|\b(?-i:[A-Z]\. [A-Z][a-z]* [a-z])"
    r"|\b(?:do|does|did|is|are|true|goes) the same\b"
    r"|\btoo (?:much|many|little|few) (?:all|at|can|may|might|could|is|are|too|and|or)\b"
    r"|\b(?:as|see|mentioned|described|listed|shown|discussed) (?:above|below|earlier|before)\b|\b(?:the )?following\b[^,]*[.:]$"
)
_OBJECT = re.compile(r"(?i)\b(?:it|them)\b(?!'s)")
_BOILERPLATE = re.compile(
    r"""(?ix)
      \b(?:learn|read|see|find\s+out)\s+more\b | \bclick\s+(?:here|on|the|this|to|below|through)\b
      | \bsubscribe\b | \bsign\s+up\b | \bfollow\s+us\b | \bcontact\s+us\b
      | \bvisit\s+(?:our|the|us)\b | ^please\s+(?:read|note|see|find)\b | \bdownload\b | \bback\s+to\s+top\b | \bskip\s+to\b
      | \ball\s+rights\s+reserved\b | © | \(c\)\s*\d | \bcopyright\b
      | \bcookies?\s+(?:policy|settings)\b | \bprivacy\s+policy\b | \bterms\s+of\s+(?:use|service)\b
      | \b(?:last|page)\s+(?:updated|reviewed|modified)\b
      | \bthis\s+(?:page|site|website|article|section|leaflet|guide|topic)\b | \b(?:table|figure|fig|chapter|appendix)\s+\d
      # Addresses: mail, web, telephone, street.
      | \bsource\s*: | \S+@\S+\.\w | \bwww\.|https?: | \b(?:\+?\d[\d().\-\s]{7,}\d)\b
      | \b\d{1,5}\s+[A-Z]\w+\s+(?:Street|St|Road|Rd|Avenue|Ave|Suite)\b
    """
)
_PASTED = re.compile(r"(?<![.!?:;,…—–-])(?<=[\w\"”’)])\s+([A-Z][a-z]*)(?=\s+[a-z\"“])")
_FUNCTION = frozenset(
    """
    a an the this that these those there here it its they their them he she we you your my our not no if when while as
    because although though since after before once until unless and but or so also then however for in on at by with from
    to of some many most several all each every both either what which who whose why how where do does did is are was were can could
    may might should would will must have has had be just only very
    """.split()  # noqa: SIM905 - a hundred quoted words are no easier to read
)
_OPENERS = _FUNCTION | frozenset(
    """
    one avoid check choose drink eat get give go keep learn let make take talk tell try use wear stay stop start limit ask
    add call find follow help include look need put see set remember
    """.split()  # noqa: SIM905
)
_BEFORE_A_NAME = frozenset(
    """
    the a an of in by with like at from to for and or on every each next last between than about many most some our your
    my their his her its as after before near via per is are was were called named mr mrs ms dr
    """.split()  # noqa: SIM905
)
_NOTHING_THERE = re.compile(
    r"(?i)^there (?:is|are|was|were) (?:(?!\b(?:in|on|at|for|between|behind|near|under|of|to|from|by|with|who|that)\b).)*$"
)
_NO_VERB = re.compile(
    r"(?i)^(?:no|not|just|only|plus) [^,;:]+(?:, (?:and |or )?(?:no|not|just|only) [^,;:]+)+$"
    r"|^\w[\w-]*(?: [a-z-]+){0,2}, (?:if|unless|when) [^,]+$"
)
_STATE = re.compile(
    r"^(?:Closed|Available|Based|Located|Suitable|Sold|Included|Free from|Open (?:on|from|every|daily|until))\b"
)
_OPENING_PHRASE = re.compile(
    r"(?i)^(?:after|before|in|on|at|from|with|by|for|during|within|without|since|until|over|through|under|once)\b([^;:]*?),?\s"
    r"(?:it|they|he|she)(?:['’](?:s|re|ll|ve|d))?\s"
)
_PERSON = re.compile(r"\b(?:he|she|him|her|his|hers)\b")
_CALENDAR = re.compile(
    r"(?i)\b(?:(?:mon|tues|wednes|thurs|fri|satur|sun)days?|january|february|march|april|may|june|july|august|september|october"
    r"|november|december|spring|summer|autumn|winter)\b"
)
_BARE_CLAUSE = re.compile(r"^[^,;:]{3,60}, (?:which|who|whose|where) [^,;]+[.!]$")
_GERUND = re.compile(
    r"^(?!(?:During|Nothing|Anything|Everything|Something|Morning|Evening|Spring|King)\b)[A-Z][a-z]+ing\b"
)
_AUXILIARY = re.compile(
    r"(?i)\b(?:is|are|was|were|be|has|have|had|can|could|may|might|must|should|will|would|do|does|did|helps?|makes?|takes?|keeps?"
    r"|gives?|needs?|means?|includes?|causes?|gets?|goes|go|comes?|seems?|feels?|brings?|adds?|lets?|saves?|changes?|works?|calls?)\b|['’](?:s|re|ll|ve)\b"
)


def runs_on(sentence: str, *, in_a_list: bool = False) -> bool:
    """Whether two texts were pasted together in it without a full stop: "... and tanning beds Check your skin ...".

    Where a page has lists (`in_a_list`), any capital in the middle that is not plainly a name counts; elsewhere only a
    word that opens sentences.
    """
    for match in _PASTED.finditer(sentence):
        word, before = match.group(1), sentence[: match.start()].split()[-1]
        if word == "I" or (word == "A" and before[:1].isupper()):
            continue
        if _CALENDAR.fullmatch(word) and word != "May":
            continue
        if word == "May" and before.lower() in _BEFORE_A_NAME | {"since", "until", "till", "early", "late", "mid"}:
            continue
        if word.lower() in _OPENERS and before.lower() not in ("the", "of"):
            return True
        if in_a_list and before.lower() not in _BEFORE_A_NAME and not before[:1].isupper():
            return True
    return False


def is_fragment(sentence: str) -> bool:
    """Whether it lacks what makes a sentence: a list item with a full stop behind it."""
    if _BARE_CLAUSE.match(sentence) and not _AUXILIARY.search(sentence.split(",")[0]):
        return True
    if _STATE.match(sentence) and not _AUXILIARY.search(sentence.split("(")[0]):
        return True
    if _NO_VERB.match(sentence) and not _AUXILIARY.search(re.split(r"(?i), (?:if|unless|when) ", sentence)[0]):
        return True
    return bool(_GERUND.match(sentence)) and not _AUXILIARY.search(sentence)


def _nobody_named(sentence: str) -> bool:
    """Whether it says "she" or "his" of somebody whom only a sentence before named."""
    match = _PERSON.search(sentence)
    if match is None:
        return False
    before = _CALENDAR.sub("", sentence[: match.start()])
    named = re.search(r"(?<!^)(?<![.!?] )\b[A-Z][a-z]+", before) or re.match(r"[\"“'(]?[A-Z][a-z]+ [A-Z]", before)
    opening = re.match(r"[\"“'(]?([A-Z][a-z]+)", before)
    first = bool(opening) and opening.group(1).lower() not in _OPENERS  # type: ignore[union-attr]
    someone = re.search(
        r"(?i)\b(?:an?|the|your|our|my|every|each|one|some|any|who|somebody|someone|everybody|everyone|nobody)\b",
        before,
    )
    return not (named or first or someone)


def _points_back(sentence: str) -> bool:
    """Whether "it" or "them" comes before anything that it could mean: "Drink it before workouts." """
    if (opening := _OPENING_PHRASE.match(sentence)) and not _AUXILIARY.search(opening.group(1)):
        return True
    match = _OBJECT.search(sentence)
    if match is None:
        return False
    before = [word for word in re.findall(r"[\w’'-]+", sentence[: match.start()]) if word.lower() not in _FUNCTION]
    return len(before) <= 1


def _somebodys_words(sentence: str) -> bool:
    """Whether it is all quotation, of somebody who speaks of himself and whom only the text around it names."""
    whole = re.fullmatch(r"[\"“](.*)[\"”]", sentence.strip())
    return bool(whole) and re.search(r"\b(?:I|I['’]\w+|my|me|we|our|us)\b", whole.group(1)) is not None  # type: ignore[union-attr]


def taken_back(following: str) -> bool:
    """Whether the sentence before is only half of what its page says: `following` takes something of it back."""
    return bool(re.match(r"(?i)[\"“]?(?:however|nevertheless|even so|that said|on the other hand)\b", following))


def stands_alone(sentence: str) -> bool:
    """Whether a reader who sees nothing else understands who does what: no answer, no "this" from elsewhere, no navigation."""
    if not sentence[:1].strip("\"“'‘(").isupper() and not sentence[1:2].isupper() and not sentence[:1].isdigit():
        return False
    if sentence.rstrip("\"”’')").endswith("?"):
        return False
    if (
        sentence.count("(") != sentence.count(")")
        or sentence.count("“") != sentence.count("”")
        or sentence.count('"') % 2
    ):
        return False
    if _LEADING.search(sentence) or _DANGLING.search(sentence) or _BOILERPLATE.search(sentence):
        return False
    if _IT.match(sentence) and not _EMPTY_IT.match(sentence):
        return False
    if not re.search(r"[.!…][\"'”’)]*$", sentence) or (not _IT.match(sentence) and _points_back(sentence)):
        return False
    if (
        _nobody_named(sentence)
        or _somebodys_words(sentence)
        or (_NOTHING_THERE.match(sentence) and len(sentence.split()) <= 7)
    ):
        return False
    return not runs_on(sentence) and not is_fragment(sentence)
