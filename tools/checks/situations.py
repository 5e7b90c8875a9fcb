"""Situations in which words of illness promise nothing: an emergency, a form to fill in, a seat for somebody, a charity, a refusal.

Each is told by what the whole sentence does, sometimes with the next one. None holds where something is offered that works.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tools.checks.rules import Sentence

_FORWARD = 160
"""Characters of the next sentence that are read."""
_PRONOUNS = frozenset(
    ["our", "we", "us", "this", "buy", "order", "try", "water", "app", "program", "method", "package", "protocol"]
)
_OFFER = frozenset(("PRODUCT", "INGEST", "REMEDY", "THERAPY", "ENERGYTECH"))
_PLAIN = frozenset(
    [
        "solution",
        "aid",
        "support",
        "help",
        "control",
        "plan",
        "programme",
        "program",
        "course",
        "machine",
        "belt",
        "wrap",
        "pillow",
        "blanket",
        "collar",
        "treat",
        "roller",
        "wand",
        "range",
        "pack",
        "mat",
        "session",
        "app",
        "water",
        "package",
        "pen",
        "pendant",
        "cream",
        "drink",
        "drinks",
        "milk",
        "honey",
        "shot",
        "juice",
        "system",
        "device",
        "rub",
        "range",
        "bundle",
    ]
)

_SELLS = re.compile(
    r"\b(?:our|ours|my|we|this|these|tea|teas|drops?|capsules?|tablets?|pills?|gumm(?:y|ies)|oils?|"
    r"creams?|patch(?:es)?|"
    r"supplements?|powders?|remed(?:y|ies)|formulas?|tonics?|balms?|juices?|therapy|devices?|sessions?|"
    r"blends?|extracts?|"
    r"herb\w*|cbd|collagen|turmeric|try|order|buy|shop|instead|cure[sd]?|heal\w*|relie\w+|does|works?|helps?)\b"
)
_WORKS = re.compile(
    r"\b(?:cure[sd]?|curing|heal(?:s|ed|ing)?|treat(?:s|ed|ing|ment|ments)?|relie(?:f|ve|ves|ved|ving)|"
    r"eas(?:e|es|ed|ing)|sooth\w+|calm(?:s|ed|ing)?|"
    r"prevent\w*|revers\w+|remed(?:y|ies)|boost\w*|improv\w+|reduc\w+|lower(?:s|ed|ing)?|better|magnet\w*|"
    r"copper|infrared|crystal\w*|detox\w*|miracle|"
    r"fight(?:s|ing)?|fix(?:es|ed)?|stop(?:s|ped)? (?:the|your|my)|healing|therapeutic|cool(?:s|ing)|"
    r"compression|circulation|herb\w*|recover\w*|"
    r"help(?:s|ed|ing)?|gone|vanish\w*|disappear\w*|support(?:s|ed|ing) \w+|supplements?|works?|worked|"
    r"clear(?:s|ed) up|regrow\w*|regain\w*|instead|without)\b"
)
_PROFESSIONAL = (
    r"(?:ambulance|emergency|999|911|112|111|a ?& ?e|hospital|poisons? (?:control|centre|center|line)|"
    r"doctors?|gp|physician|vets?|"
    r"veterinarians?|veterinary|dermatologist|midwife|pharmacist|optician|optometrist|dentist|lifeguard|"
    r"first aider|paramedics?|"
    r"nurse|crisis line|samaritans|988|care team|diabetes team|oncologist|cardiologist|psychiatrist|urgent care|er)\b"
)
_TURN_TO = re.compile(
    r"\b(?:call|phone|ring|dial|get (?:\w+ ){0,2}to|go (?:\w+ )?to|see|seek|contact|head to|visit|"
    r"speak to|speak with|talk to|tell|ask|have|follow)\b"
    rf"[^.!?;:]{{0,25}}\b{_PROFESSIONAL}"
)
_TURNED_AWAY = re.compile(
    r"\b(?:don't|do not|never|no need|before you|instead|rather than|without|tired of|stop|why|who|"
    r"couldn't|could not|can't|what your|"
    r"doesn't|won't|nothing|failed|amazed|hide|truth|secret|about (?:our|this|these|my)|until|first try)\b"
)
_URGENT = re.compile(r"\b(?:is|are|may be|can be) (?:an? )?(?:medical )?emergenc(?:y|ies)\b")
_MEDICINE = (
    r"(?:insulin|medicines?|medications?|prescri\w+|antidepressants?|inhalers?|tablets|statins?|chemo\w*|"
    r"anticoagulants?|steroids?|meds|hrt|treatment)\b"
)
_KEEP_TAKING = re.compile(
    rf"\b(?:never|don't|do not|please do not|please don't|nobody should|no one should|should not|shouldn't|must not) "
    rf"(?:stop|skip|change|swap|replace|reduce|adjust|delay|put off|come off|halve|stop or change|"
    rf"stop or reduce)\b(?: taking| using)?"
    rf"(?: \w+){{0,2}} {_MEDICINE}(?! (?:the|like|as) )"
    rf"|\b(?:keep|continue|carry on) (?:taking|using|with) (?:\w+ ){{0,2}}{_MEDICINE}"
    rf"|^(?:stopping|skipping|swapping|replacing|"
    rf"missing) (?:\w+ ){{0,2}}{_MEDICINE}[^.!?]{{0,20}}\b(?:can kill|is dangerous|can be dangerous|"
    rf"can be fatal|is risky|could kill)"
)
_TAKEN_BACK = re.compile(
    r"\b(?:but|until|again|except|yet|though|unless your body|our|ours|because you won't|throw|bin)\b"
)

_NO_SUCH = re.compile(
    r"^(?:(?:and|so|but|remember|reminder|plainly|honestly|fact)[:,]? )?(?:no|not one|none of (?:our|"
    r"these|the)|not a single) "
    r"(?!one\b|more\b|longer\b|need\b|wonder\b|doubt\b|matter\b|doctor|pharma|scientist|pain|side|diet|"
    r"exercise|drug|needle|prescription|medic|gym|surgery|risk|"
    r"other\b|better\b|effort|hunger|\w+ing\b)"
    r"(?:[\w'-]+ ){1,5}?(?:will |can |could |does |ever |should |has ever )?(?:replaces?|cures?|treats?|"
    r"heals?|burns?|melts?|prevents?|reverses?|removes?|"
    r"fix(?:es)?|shrinks?|stops?|ends?|takes? the place|stands? in for|substitutes?|makes? up for|"
    r"dissolves?|protects?|detox\w*|grows?|regrows?|is (?:a |any )?(?:cure|replacement|substitute|"
    r"alternative))\b"
)
_BUT_OURS = re.compile(
    r"\b(?:like|as|than|except|but|until|unless|other|beats?|better|faster|so (?:well|fast|quickly)|"
    r"(?<!of )ours|quite|this one|apart from|"
    r"yet|tell you|(?:this|our) \w+ (?:does|cures?|treats?|heals?|helps?))\b"
)
_ANSWER = re.compile(
    r"^\s*(?:but|except|until|ours? (?:does|do|can|will|is|are)|this one|it does|now|yet|then we|"
    r"that changes|try|meet|introducing|our \w+ (?:does|do|can|will|cures?|treats?|heals?|takes?|"
    r"replaces?))\b"
)
_NO_ALTERNATIVE = re.compile(
    r"\b(?:is|are|isn't|aren't|was|were) (?:no|not|never|not an?|an?|no real|not a real) ?(?:alternative|"
    r"substitute|replacement|stand-in|swap)s? (?:to|for|of)\b"
)

_FORM = re.compile(
    r"(?:^|\b(?:please|so|and|also|kindly|first|do) )(?:tell|let|list|mention|note|inform|remind|write|"
    r"ask us|share|email|flag|declare|give|add)\b"
    r"(?=[^.!?]{0,40}\b(?:us|me|know|form|teacher|instructor|therapist|staff|host|chef|kitchen|front desk|"
    r"reception|team|booking|server|waiter|practitioner|coach|below|card)\b)"
    r"[^.!?]{0,120}"
)
_INTAKE = re.compile(
    r"\b(?:allerg\w+|pregnan\w+|injur\w+|operation|surgery|medications?|medicines?|conditions?|asthma|"
    r"epilep\w+|heart|blood|clots?|diabet\w+|pacemaker|"
    r"intoleran\w+|coeliac|celiac|implants?|illness\w*|seizures?|skin|eczema|back|knees?|sensitiv\w+)\b"
)
_THEN_SELLS = re.compile(
    r"\b(?:and|so|so that|then) (?:we|i|our \w+)(?:'ll| will| can|'d)? ?(?:\w+ )?(?:send|match|mix|pick|"
    r"recommend|prescribe|treat|heal|fix|blend|cure|help|clear|"
    r"choose|create|formulate|find|ease|end|take care|get rid|suggest|show|work)\b|\b(?:oil|tea|cream|"
    r"drops|capsules|supplements?|remedy|remedies|blend|formula)\b"
)

_PEOPLE = (
    r"(?:people|customers?|guests?|visitors?|adults?|readers?|those|anyone|everyone|children|kids|"
    r"families|parents|carers|shoppers|"
    r"members|swimmers|dancers|players|runners|students|pupils|veterans|audiences?|residents|neighbours|"
    r"neighbors|women|men|walkers|staff|colleagues)"
)
_ROOM = re.compile(
    r"\b(?:hours?|evening|morning|screening|performance|seats?|seating|chairs?|row|queue|lane|lift|ramp|"
    r"caps?|hats?|scar(?:f|ves)|turbans?|beanies?|wigs?|socks|"
    r"shirts?|bra|bras|shoes|trousers|bookshop|cafe|shop|library|choir|club|group|menu|planner|notebook|"
    r"lesson|class|classes|tour|walk|meet-?up|room|table|"
    r"slippers|gloves|cutlery|zip|zips|buttons|labels?|line|quiet|low-light|captions?|large print|parking|"
    r"toilet|pool|carriage|card|cards|badge|lanyard)\b"
)
_FOR_PEOPLE = re.compile(
    rf"\b{_PEOPLE} (?:who (?:have|live|are|lost|lose|have lost|use|get)|with|living with|on|in|after|"
    rf"going through|recovering)\b|"
    rf"\b(?:autistic|diabetic|disabled|dyslexic|arthritic|deaf|blind|neurodivergent|epileptic|coeliac|"
    rf"celiac) {_PEOPLE}\b|"
    r"\b(?:during|through|after|to|on) (?:chemo(?:therapy)?|radiotherapy|dialysis)\b|"
    r"\b(?:our|the|my|her|his) (?:founder|owner|designer|baker|editor|teacher|guide|barista|potter|author|"
    r"daughter|son|brother|sister|co-founder) (?:has|is|lives with|was diagnosed with)\b|"
    r"\bcome as you are\b|\b(?:for|welcomes?|suits?) (?:tired|stiff|creaky|sore|bad|dodgy|old) (?:knees|"
    r"hips|backs?|feet|joints|legs|shoulders)\b|"
    r"\b(?:autism|dementia|disability)[- ](?:friendly|aware)\b|\bday(?:s)? (?:is|are) hard\b"
)
_BOOKING = re.compile(
    r"\b(?:move|moves|change|swap|rebook|reschedule|refund|hold|postpone|"
    r"cancel)\b[^.!?]{0,20}\b(?:lessons?|bookings?|class|classes|appointments?|slots?|tickets?|dates?|"
    r"sessions?|orders?|seats?|place|stay|table)\b"
)
_LABEL = re.compile(
    r"\b(?:read|see|check)\b[^.!?]{0,20}\b(?:label|carbohydrate|carbohydrates|carbs|sugars?|nutrition|"
    r"ingredients|allergen|line)\b|\bphenylalanine\b"
)

_CAUSE = re.compile(
    r"\b(?:hospice|fun run|sponsored|walk to (?:end|beat|stop|conquer)|(?:walk|run|ride|row|swim|race|"
    r"relay|step|march|dance|bake|light) (?:for|against) (?:life|a cure|\w+)|"
    r"(?:ride|run|race|row|swim|bike|march) to (?:end|beat|stop|conquer|fight|cure)|collection tins?|"
    r"raffle|bake sale|coffee morning|"
    r"(?:per ?cent|%|part|share|all|half|profits?|proceeds|takings|pound|dollar|euro|pence|cents|"
    r"p)\b[^.!?]{0,40}\b(?:goes|go|given|went|donated|passed)\b (?:\w+ )?to|"
    r"(?:breast |lung |heart )?(?:screening|scanner|mammogram) (?:bus|van|unit)|appeal|telethon|"
    r"remembrance|donor|in memory)\b"
)
_WALK_VERB = re.compile(
    r"\b(?:walk|ride|run|race|row|swim|bike|march|team)s? (?:to|for|against) (?:end|beat|stop|conquer|"
    r"fight|a|the|cure)?\b ?(?:cure\b)?"
)

_OWN = re.compile(
    r"^(?:my|our|one|a|the|\w+|\d+) (?:\w+ )?(?:year|years|month|months|week|weeks|day|diary|life|time|"
    r"winter|summer) (?:with|of|living with|after|since|free of|sober|in)\b|"
    r"\bwhat\b[^.!?]{0,40}\b(?:was|is|felt|feels)\b (?:really |actually )?like\b|\bletter to my\b|"
    r"\bdiary of\b|\bdays? in (?:the )?hospital\b|\bliving with\b[^.!?]{0,30}\b(?:diary|story|vlog|"
    r"letters?|journal)\b|"
    r"\b(?:i was|being) diagnosed\b[^.!?]{0,40}\b(?:year|age|what i|how it|when i)\b"
)
_OUTCOME = re.compile(
    r"\b(?:thanks to|because of|secret|how i (?:beat|cured|healed|quit|fixed|got rid|reversed|stopped|"
    r"overcame|recovered|lost|did|survived)|cured|healed|beat|reversed|recovered|natural\w*|diet|juice|"
    r"herbs?|plants?|prayer|fasting|cleanse|carnivore|vegan|keto|raw|instead|quit|refused|said no|drops|"
    r"gone|remission|without|until|got me through|saved|kept me|swear|product|routine|"
    r"oils?|tea|mushrooms?|cbd|vitamin\w*|supplements?|capsules?|powder|meditat\w*|yoga|ditch\w*|"
    r"off (?:my|all)|miracle|healer|alternative|protocol|method|this one|link|code)\b"
)

_REFUSED = re.compile(
    r"\b(?:we|i|our \w+|the shop|this shop|which we|and we) (?:have |has |had |'ve )?(?:no longer|stopped|"
    r"don't|do not|does not|never|will not|won't|refuse to|refused to|quit|declined to|cannot|can't|"
    r"will never|gave up|took down)"
    r" (?:to |ever )?(?:stock|stocking|sell|selling|say|saying|claim|claiming|carry|carrying|offer|"
    r"offering|make|making|print|printing|promise|promising|use|using|post|advertise|recommend|call|treat|"
    r"give|the|our)\b"
)
_REFUSAL_TURNS = re.compile(
    r"\b(?:because|but|since|now that|as our|you won't|you don't|instead of|why|without|nobody needs|"
    r"no need|needed|anything else|other)\b"
)

_NHS = re.compile(
    r"\b(?:nhs|stop smoking service|quitline|helpline|samaritans|council|health (?:service|authority|"
    r"department)|citizens advice|public health|988)\b"
)
_VACCINE_FACT = re.compile(
    r"\b(?:vaccin\w+|jabs?|shots?|chemo\w*|5g|sunscreen|fluoride)\b[^.!?,]{0,20}\b(?:doesn't|does not|"
    r"don't|do not|did not|didn't|never|cannot|can't|isn't|is not|won't|will not) (?:cause|causes|alter|"
    r"change|give|contain|spread|make|harm|linked|kill|lead)\b"
)
_FACT_TURNS = re.compile(
    r"\b(?:say|says|said|claim|claims|believe|think|told|tell|want you|but|wrong|lie|lies|lied|if you|who|"
    r"safe without|our|yet|fool\w*|pretend\w*|really\?)\b"
)

_OTC_ACTIVE = re.compile(
    r"\b(?:ibuprofen|paracetamol|aspirin|acetaminophen|naproxen|loratadine|cetirizine|fexofenadine|"
    r"loperamide|hydrocortisone|clotrimazole|"
    r"gaviscon|alginate|antacid|simethicone|calcium carbonate|omeprazole|nicotine|guaifenesin|"
    r"dextromethorphan|diphenhydramine|chlorphenamine|"
    r"xylometazoline|diclofenac|aciclovir|senna|rehydration salts|antihistamine)\b"
)
_READ_LABEL = re.compile(
    r"\balways read the (?:label|leaflet|instructions|patient information)\b|"
    r"\buse (?:only )?as directed\b|\bread (?:the )?(?:label|leaflet) (?:first|before)\b"
)
_BEYOND_OTC = re.compile(
    r"\b(?:cure[sd]?|heals?|arthritis|cancer|diabetes|depression|covid|miracle|permanent\w*|forever|"
    r"natural|herbal|prevents?|instantly|guaranteed|natural)\b"
)
_HERBAL_REGISTERED = re.compile(
    r"\btraditional herbal (?:medicinal product|"
    r"medicine)\b[^!?]*\bexclusively (?:based )?(?:up)?on long[- ]?standing use\b"
)
_MONOGRAPH = re.compile(
    r"\b(?:fluoride\w*)\b[^.!?]{0,60}\b(?:cavit\w+|tooth decay|caries|dental decay)\b|\b(?:cavit\w+|"
    r"tooth decay|caries)\b[^.!?]{0,40}\bfluoride\b|"
    r"\bchewing gum\b[^.!?]{0,60}\b(?:plaque acids?|dry mouth|oral dryness|tooth mineralisation)\b|"
    r"\b(?:pyrithione zinc|zinc pyrithione|selenium sulfide|selenium sulphide|coal tar|ketoconazole|"
    r"salicylic acid)\b[^.!?]{0,50}\b(?:dandruff|flaking|seborr\w+)\b|"
    r"\b(?:anti-?dandruff|dandruff)(?: \w+)? shampoos?\b|\bshampoos? (?:for|against) (?:\w+ )?dandruff\b|"
    r"\b(?:otc|over-the-counter) hearing aids?\b[^.!?]*\bperceived mild to moderate hearing loss\b|"
    r"\b(?:iron|your daily iron)\b[^.!?]{0,40}\bcarry oxygen\b|"
    r"\bprotein\b[^.!?]{0,40}\bcontributes to (?:a |the )?(?:growth|maintenance) (?:in|"
    r"of) (?:normal )?(?:muscle mass|bones)\b|"
    r"\bvitamin c\b[^.!?]{0,40}\bnormal collagen formation\b|"
    r"\bprevents? (?:scurvy|rickets|beriberi|pellagra)\b[^.!?]*\b(?:rare|uncommon|rarely)\b|"
    r"\bdeodorants?\b[^.!?]{0,40}\bbody odou?r\b|\bbody odou?r\b[^.!?]{0,40}\bdeodorants?\b"
)
_BEYOND_MONOGRAPH = re.compile(
    r"\b(?:cure[sd]?|heals?|revers\w+|regrow\w*|rebuild\w*|repairs?|permanent\w*|forever|psoriasis|eczema|"
    r"gum disease|gingivitis|hair loss|regrowth|drops|"
    r"capsules?|pills?|gumm(?:y|ies)|never (?:see|need)|no more|without|instead|better than|heart|cancer|"
    r"immun\w*|100 ?%|detox\w*|poison\w*|herbal|natural|miracle|anaemia|anemia|fatigue|energy)\b"
)

_STARS = re.compile(
    r"\b(?:zodiac|horoscopes?|star signs?|leo|virgo|capricorn|aquarius|pisces|sagittarius|scorpio|taurus|"
    r"gemini|libra|aries)\b"
)
_DOORBELL = re.compile(r"\b(?:doorbell|telephone|phone|church bells?|alarm clock|bicycle bell|kettle|brass band)\b")
_TREES = re.compile(
    r"\b(?:prun\w+|trees?|branch\w*|bark|maple|oak|pear|apple tree|roses?|graft\w*|trunk|hedge|bough)\b"
)
_WORKS_ON_BODY = re.compile(
    r"\b(?:your|my|her|his) (?:skin|body|wounds?|ears?|face|gut|hair|joints?|pain)\b|\b(?:tinnitus|skin|"
    r"patients?|balm|oil|extract|tea|cream)\b"
)


def _said(sentence: Sentence) -> str:
    return sentence.folded.text[sentence.tokens[0].start : sentence.tokens[-1].end]


def _next(sentence: Sentence) -> str:
    rest = sentence.folded.text[sentence.end : sentence.end + _FORWARD].lstrip(" .!?\n")
    return re.split(r"[.!?\n]", rest, maxsplit=1)[0]


def _offers(sentence: Sentence) -> bool:
    """Whether a product or a therapy stands in the sentence, other than by a pronoun or a word of every day."""
    return any(
        not _OFFER.isdisjoint(tag) and token.text not in _PRONOUNS and token.text not in _PLAIN
        for token, tag in zip(sentence.tokens, sentence.tags, strict=True)
    )


def _emergency(sentence: Sentence, said: str, then: str) -> bool:
    """The reader is sent to an emergency service or a professional, here or in the next sentence, and nothing is offered."""
    if _offers(sentence) or _SELLS.search(then):
        return False
    return any(
        (_TURN_TO.search(text) or _URGENT.search(text)) and not _TURNED_AWAY.search(text) for text in (said, then)
    )


def _keep_taking(sentence: Sentence, said: str, then: str) -> bool:
    """Medicine is to be taken on, or it is said what stopping it does."""
    return _KEEP_TAKING.search(said) is not None and not _TAKEN_BACK.search(said) and not _ANSWER.match(then)


def _no_such(sentence: Sentence, said: str, then: str) -> bool:
    """Nothing of the kind works, or takes the place of medicine: said of all of them, and not turned round for one."""
    if _ANSWER.match(then):
        return False
    if _NO_ALTERNATIVE.search(said):
        return not re.search(r"\b(?:but|there|it's no longer|until)\b", said)
    found = _NO_SUCH.match(said)
    return found is not None and not _BUT_OURS.search(said)


def _intake(sentence: Sentence, said: str, then: str) -> bool:
    """A form or the staff asks what to look out for, and nothing is promised for it."""
    return (
        _FORM.search(said) is not None
        and _INTAKE.search(said) is not None
        and not _THEN_SELLS.search(said)
        and not _WORKS.search(said)
        and not (_WORKS.search(then) or _SELLS.match(then))
    )


def _room_for(sentence: Sentence, said: str, then: str) -> bool:
    """People with an illness have a seat, an hour, a cap, a menu or a label to read, which does nothing for the illness."""
    if _WORKS.search(said) or _offers(sentence) or any(sentence.has(name) for name in ("STRONG", "BENEFIT", "GONE")):
        return False
    if _BOOKING.search(said) or _BOOKING.match(then[: then.find(" no ")]) or _BOOKING.search(then):
        return not _WORKS.search(then)
    if not _FOR_PEOPLE.search(said):
        return False
    return (_ROOM.search(said) or _LABEL.search(said)) is not None and not _WORKS.search(then)


def _cause(sentence: Sentence, said: str, then: str) -> bool:
    """Money or a walk for a cause: the illness is what the cause is named for."""
    if _CAUSE.search(said) is None or _offers(sentence):
        return False
    rest = _WALK_VERB.sub(" ", said)
    return not _WORKS.search(rest) and not _WORKS.search(then)


def _own_story(sentence: Sentence, said: str, then: str) -> bool:
    """Somebody's own time with an illness, with no product and no way out of it."""
    return (
        _OWN.search(said) is not None
        and not _offers(sentence)
        and not _OUTCOME.search(said)
        and not (_OUTCOME.search(then) or _SELLS.search(then))
    )


def _refusal(sentence: Sentence, said: str, then: str) -> bool:
    """It is said what is not sold, offered or claimed any more."""
    return (
        _REFUSED.search(said) is not None
        and not _REFUSAL_TURNS.search(said)
        and not sentence.has("GONE")
        and not _ANSWER.match(then)
    )


def _vaccine_fact(sentence: Sentence, said: str, then: str) -> bool:
    """A vaccine or a medicine does not do what is said of it."""
    return _VACCINE_FACT.search(said) is not None and not _FACT_TURNS.search(said)


def _licensed(sentence: Sentence, said: str, then: str) -> bool:
    """A licensed medicine for what it is licensed for, with the words that its advert must hold."""
    both = f"{said}. {then}"
    if _HERBAL_REGISTERED.search(said):
        return True
    return (_OTC_ACTIVE.search(said) and _READ_LABEL.search(both)) is not None and not _BEYOND_OTC.search(both)


def _monograph(sentence: Sentence, said: str, then: str) -> bool:
    """What a monograph or a list lets be said: fluoride and cavities, a shampoo and dandruff, gum and plaque acids."""
    return _MONOGRAPH.search(said) is not None and not _BEYOND_MONOGRAPH.search(said)


def _public_service(sentence: Sentence, said: str, then: str) -> bool:
    """The next sentence names the public service that helps."""
    return _NHS.search(then) is not None and _SELLS.search(then) is None and not _TURNED_AWAY.search(then)


def _other_sense(sentence: Sentence, said: str, then: str) -> bool:
    """The zodiac, a doorbell, a tree: the word means something else."""
    if _offers(sentence) or _WORKS_ON_BODY.search(said):
        return False
    return bool(
        (len(_STARS.findall(said)) > 1 and "cancer" in said)
        or ("ringing" in said and _DOORBELL.search(said))
        or (_TREES.search(said) and re.search(r"\bheal(?:s|ed|ing)?(?: over| up)?\b", said))
    )


_KINDS: dict[str, Callable[[Sentence, str, str], bool]] = {
    "emergency": _emergency,
    "keep_taking": _keep_taking,
    "no_such": _no_such,
    "intake": _intake,
    "room_for": _room_for,
    "cause": _cause,
    "own_story": _own_story,
    "refusal": _refusal,
    "vaccine_fact": _vaccine_fact,
    "licensed": _licensed,
    "monograph": _monograph,
    "public_service": _public_service,
    "other_sense": _other_sense,
}


def situation(sentence: Sentence, *names: str) -> bool:
    """Whether one of the situations of those names holds for `sentence`. Each is looked into once a sentence."""
    known = sentence.known
    for name in names:
        if name not in known:
            known[name] = _KINDS[name](sentence, _said(sentence), _next(sentence))
        if known[name]:
            return True
    return False
