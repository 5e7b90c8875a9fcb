"""More situations in which words of illness promise nothing: what a rule book allows, warns of, or has somebody take back.

Each takes the sentence, what it says and what the next one says, as those of situations.py do, which holds them all.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tools.checks.rules import Sentence
from tools.checks.situation_words import WORKS, modest, number

_NEAR = 200
"""Characters at either side of a sentence in which the other lines of a label stand."""
_TURNS = re.compile(
    r"\b(?:but|until|except|unless|yet|though|anyway|still|instead|ours?(?= (?:does|do|did|can|will|cures?|"
    r"treats?|heals?))|"
    r"this one|unlike|try (?:our|this)|(?:our|this) \w+ (?:does|did|cures?|treats?|heals?|eases?|works?|helps?|"
    r"clears?)|"
    r"forced|made to|had to|censor\w*|silenc\w*|truth|true)\b"
)

_DRUG_FACTS = re.compile(
    r"\bdrug facts\b|\bactive ingredients?\b|\b(?:salicylic acid|benzoyl peroxide|menthol|camphor|pyrithione zinc|"
    r"zinc oxide|avobenzone|capsaicin|lidocaine|bacitracin|benzalkonium chloride|sulfur|coal tar|colloidal oatmeal) \d"
)
_USES = re.compile(
    r"\b(?:for the (?:treatment|management) of (?:\w+ )?acne|acne (?:medication|treatment)|(?:controls|relieves|"
    r"for the relief of)"
    r"(?: the)? symptoms of (?:dandruff|seborrh\w+ dermatitis)|temporarily (?:relieves|protects)|"
    r"helps? (?:to )?prevent sunburn|"
    r"for temporary relief of)\b"
)
_FIRST_AID = re.compile(
    r"\bfirst aid to help (?:prevent|protect against|reduce the (?:risk|chance) of)(?: skin)? infections? in minor\b"
)
_SUNSCREEN = re.compile(r"\bif used as directed with other sun protection measures\b")
_BEYOND_USES = re.compile(
    r"\b(?:cure[sd]?|heals?|healing|revers\w+|permanent\w*|forever|overnight|instant\w*|natural\w*|herbal|"
    r"arthritis|(?<!skin )cancer|warts|psoriasis|eczema|"
    r"mrsa|diabetes|miracle|guarantee\w*|scars?|never|no more|instead|without|homeopathic|hair loss|repairs?|dna)\b"
)


def _drug_facts(sentence: Sentence, said: str, then: str) -> bool:
    """A use as a monograph words it, beside its active ingredient; or one that is worded so for nothing else."""
    around = sentence.folded.text[max(0, sentence.start - _NEAR) : sentence.end + _NEAR]
    if _BEYOND_USES.search(around):
        return False
    if _FIRST_AID.search(said) and not re.search(r"\b(?:it|cancer|virus\w*|flu|covid)\b", said):
        return True
    if _SUNSCREEN.search(said):
        return True
    return _USES.search(said) is not None and _DRUG_FACTS.search(around) is not None


_INTERACTS = re.compile(
    r"\b(?:can|may|could|might) (?:lessen|reduce|weaken|affect|change|alter|limit) (?:the )?(?:effect|effects|"
    r"effectiveness|"
    r"action|strength) of\b|"
    r"\b(?:can|may|could|might) (?:change|affect|alter) how (?:well )?(?:\w+ ){0,2}(?:\w+s|medicine|medication|"
    r"pill) works?\b|"
    r"\b(?:can|may|could|might|does|do) (?:interact|interfere|clash) with (?:\w+ ){0,3}(?:medicines?|"
    r"medications?|pills?|tablets|drugs|"
    r"statins|antidepressants|blood thinners|warfarin|contraceptives?|anticoagulants)\b"
)
_HARMS = re.compile(
    r"\b(?:uv|ultraviolet|tanning|sun(?:light)?(?: exposure)?|sunbeds?|smoking|tobacco|cigarettes|vaping|"
    r"alcohol|drinking|salt|"
    r"liquorice|licorice|caffeine|grapefruit|energy drinks)\b[^.!?;]{0,30}"
    r"\b(?:(?:can|may|might|could) (?:increase|raise)|raises|increases) (?:your |the )?"
    r"(?:blood pressure|heart rate|(?:risk|likelihood|chances?) of (?:developing )?\w+)"
)
_RISK_TURNS = re.compile(
    r"\b(?:our|we|low|lowers?|lets?|so that|helps?|healthy|boosts?|safer|less|without|vaccin\w*|chemo\w*|"
    r"toxins?|better|unless|but|ours|(?<!not )safe)\b"
)


def _interaction(sentence: Sentence, said: str, then: str) -> bool:
    """A food or a plant gets in the way of a medicine, or does harm of which every authority warns."""
    if WORKS.search(then) or _TURNS.search(then):
        return False
    if _INTERACTS.search(said):
        return not re.search(r"\b(?:aging|ageing|toxins?|chemo\w*|vaccin\w*|cancer|virus\w*|stress|pain)\b", said)
    found = _HARMS.search(said)
    return found is not None and not _RISK_TURNS.search(said)


_EXCLUDED = re.compile(
    r"\b(?:not recommended (?:that you|for|during|with|if)|(?:total|local|absolute|main|"
    r"known) contra-?indications?|contra-?indicated|"
    r"(?:we|i) (?:can't|cannot|can not|are unable to|won't|will not|do not|don't) (?:massage|treat|wax|"
    r"pierce|tattoo|needle|float|book)"
    r"(?: \w+)? (?:you |anyone |anybody |guests |clients )?(?:with|who|if|while|during)|"
    r"we (?:require|need|ask for|will need|must have) (?:a |an )?(?:written |signed |doctor's )?(?:permission|"
    r"note|letter|consent|"
    r"clearance|approval) (?:\w+ ){0,3}(?:from|of|by) (?:your|a) (?:physician|doctor|gp|midwife|specialist|consultant)|"
    r"will (?:first )?ask (?:you )?about\b[^.!?]{0,80}\bbefore|"
    r"(?:stop|discontinue) (?:using|use)\b[^.!?]{0,40}\b(?:if|when|should)\b[^.!?]{0,50}\b(?:appears?|occurs?|"
    r"develops?|persists?|shows?)|"
    r"(?:skip|sit out|leave out|miss|avoid)\b(?! (?:\w+ ){0,3}(?:chemo\w*|radio\w*|insulin|statins?|"
    r"medic\w*|inhalers?|tablets|pills?|treatments?|surgery|doctors?|hospital|vaccin\w*|jabs?)\b)[^.!?]{0,50}\bif you(?:'re| are| have)|"
    r"is (?:only )?diagnosed by (?:your|a) (?:doctor|gp|physician|specialist))\b"
)
_ASKS_US = re.compile(
    r"\b(?:so|because|and (?:we|our)|then (?:we|our)) (?:\w+ )?(?:can|will|treat|cure|heal|ease|fix|match)\b"
)


def _contraindicated(sentence: Sentence, said: str, then: str) -> bool:
    """Who should not come, what is asked before, when to stop: and nothing is promised for it, nor for the rest."""
    if not (_EXCLUDED.search(said) or _EXCLUDED.match(then)):
        return False
    rest = _EXCLUDED.sub(" ", said)
    healing = re.sub(r"\b(?:sound|energy|crystal) healing\b|\b(?:physician|doctor)\b", " ", rest)
    return not (WORKS.search(healing) or _ASKS_US.search(said) or WORKS.search(_EXCLUDED.sub(" ", then)))


_EXPLAINS = re.compile(
    r"^an? (?:\w+ )?\w+(?:ist|ian|or|se|er) (?:explains|on|answers|tells us|looks at|asks) (?:where|why|how|"
    r"what|whether)? ?"
    r"(?:that|this|the|such a|such) (?:story|stories|myth|rumou?r|claim|idea|belief|headline|tale)\b"
)
_BODY_DOES = re.compile(
    r"^(?:your|the) (?:own )?(?:lungs|kidneys|liver|skin|gut)(?: and (?:your )?(?:lungs|kidneys|liver|skin|"
    r"gut))? (?:already )?"
    r"(?:sees? to|does|do|takes? care of|handles?|manages?) (?:that|it|this)"
    r"(?: already| by themselves| by itself| on (?:its|their) own| for (?:you|free)| anyway| all day)*$"
)


def _explained(sentence: Sentence, said: str, then: str) -> bool:
    """An expert tells of a myth, or it is said which organ sees to it by itself."""
    return bool(_EXPLAINS.search(said) or _BODY_DOES.search(said.strip())) and not (
        WORKS.search(then) or _TURNS.search(then)
    )


_NO_EVIDENCE = re.compile(
    r"\b(?:there (?:is|was)|there's|(?:we|i|they|it|they|reviews?|nobody)(?: have|'ve| has)? (?:found|find|"
    r"finds|seen|see|know of|have|has)|has|have) "
    r"(?:no|not any|little) (?:[\w-]+ ){0,3}(?:evidence|proof) (?:that|for|to (?:show|suggest|support)|of)\b"
)
_UNFOUNDED = re.compile(
    r"^(?:\w+ )?claims? (?:that|of|about)\b[^.!?]*\b(?:is|are|remains?) (?:\w+ )?(?:unsubstantiated|unproven|"
    r"unsupported|"
    r"false|misleading|baseless|untrue|unfounded)\b|"
    r"\b(?:that|this|it) (?:does not|doesn't) (?:cure|treat|prevent|heal) \w+ is (?:clear|known|settled)\b"
)
_OF_MEDICINE = re.compile(
    r"\b(?:vaccin\w*|jabs?|chemo\w*|medicines?|medications?|drugs?|doctors?|statins?|insulin|pharma\w*|masks?|"
    r"harmful|dangerous|"
    r"side effects?|does not|doesn't|cannot|can't)\b"
)


def _no_evidence(sentence: Sentence, said: str, then: str) -> bool:
    """There is no evidence that it works, or claims that it does are called unfounded: not of medicine, and not turned round."""
    found = _NO_EVIDENCE.search(said)
    if found is None and _UNFOUNDED.search(said) is None:
        return False
    if _OF_MEDICINE.search(said) or _TURNS.search(said) or _TURNS.search(then):
        return False
    behind = re.split("[;:]", said[found.end() :])[1:] if found else []
    return not any(WORKS.search(part) for part in behind)


_QUOTED = re.compile(
    r"\b(?:is|are) not (?:an? |the )?(?:phrases?|words?|terms?|claims?|sentences?|promises?|"
    r"lines?) (?:that )?(?:you will|you'll|we|i|anyone)\b"
)
_NONE_WE_SELL = re.compile(
    r"^no \w+(?:, \w+){0,4},? (?:or|and|nor) \w+ (?:that |which )?(?:we (?:sell|make|stock|brew|pour)|of ours|"
    r"here|in (?:our|this) shop|"
    r"on (?:our|this) (?:shelves|site)) (?:will |can |could )?(?:prevent|treat|cure|heal|stop|kill|ease|help|fight)s?\b"
    r"(?![^.!?]*[,;] (?:it|they|these|this)\b)"
)
_TAKEN_DOWN = re.compile(
    r"^(?:so )?(?:we|i)(?:'ve| have)? (?:(?:took|taken|pulled|asked (?:her|him|them) to take) (?:[\w']+ ){0,3}down\b(?! (?:word|to|and))|"
    r"(?:removed|deleted|pulled|hid|asked (?:her|him|them) to (?:remove|edit)) (?:[\w']+ ){0,2}"
    r"(?:review|post|comment|testimonial|quote|it)\b)"
)


def _disowned(sentence: Sentence, said: str, then: str) -> bool:
    """A wording that is not to be found on the labels, a review that was taken down, none of the things on the shelves."""
    if _TURNS.search(then) or _TURNS.search(said):
        return False
    rest = sentence.folded.text[sentence.end : sentence.end + 2 * _NEAR]
    if _TAKEN_DOWN.match(then):
        return not _TURNS.search(rest)
    return bool(_QUOTED.search(said) or _NONE_WE_SELL.search(said)) and "like" not in said.split()


_CLIENTS = re.compile(
    r"\b(?:clients|guests|visitors|members|regulars)\b (?:\w+ )?(?:include|are) (?:people|men|women|adults)\b"
    r"(?: who)? (?:suffering from|with|living with|have|live with|going through)\b"
)
_CALM = re.compile(
    r"\b(?:emotional wellbeing|emotional well-being|feel(?:ing)? (?:calm|relaxed)|calming|relaxing|relaxation|peace)\b"
)
_BEYOND_CALM = re.compile(
    r"\b(?:tumou?rs?|symptoms?|pain\w*|treat\w*|cure[sd]?|heal\w*|shr[iu]nk\w*|nausea|remission|immun\w*|"
    r"fight\w*|reliev\w*|"
    r"recover\w*|revers\w*|pressure|sleep\w*|depress\w*|anxi\w*|better|medic\w*|chemo\w*|scans?|doctors?|"
    r"improv\w*|reduc\w*|remov\w*|clear\w*|eras\w*|oils?|teas?|drops|capsules)\b"
)
_MEMOIR = re.compile(
    r"^(?:an? |the |my |her |his )?(?:\w+ )?(?:memoir|diary|novel|play|documentary|cartoon|comic|podcast|"
    r"zine) (?:of|about|on) (?:\w+ ){0,2}"
    r"(?:living|life|growing up|years|caring|being)\b"
)
_BEYOND_STORY = re.compile(
    r"\b(?:(?<!no )cures?|cured|healed|heals?|revers\w+|recover\w*|thanks to|naturally|without (?:drugs|"
    r"medicine|medication|doctors)|"
    r"fixed|saved|helped|plants|diet|herbs?|juice|oils?|beat|overcame|overcome|ended|remission|gone|how (?:i|she|he|to))\b"
)
_SEASON = re.compile(
    r"\b(?:flu|cold|hay fever) season\b[^.!?]*\b(?:closed|shots?|jabs?|vaccin\w*|wash|tissues|masks?|"
    r"stay (?:at )?home)\b"
)
_TALK = re.compile(
    r"\bmenopause (?:cafe|group|circle|choir|meet-?up|book club|walk|talk|evening)\b[^.!?]*\b(?:talk|cake|tea|"
    r"coffee|chat|walk|books?|free|listen)\b"
)


def _company(sentence: Sentence, said: str, then: str) -> bool:
    """People with an illness are calmed and no more, their life is told, or they meet and talk."""
    both = f"{said}. {then}"
    if _CLIENTS.search(said):
        return _CALM.search(both) is not None and not _BEYOND_CALM.search(_CLIENTS.sub(" ", both))
    if _MEMOIR.search(said):
        return not _BEYOND_STORY.search(both)
    if _SEASON.search(said):
        return not (
            WORKS.search(said)
            or WORKS.search(then)
            or re.search(r"\b(?:ginger|our (?:shot|tea)|wellness shots?)\b", both)
        )
    return _TALK.search(said) is not None and not (WORKS.search(said) or WORKS.search(then))


_HYPNOSIS = re.compile(r"\b(?:hypnosis|hypnotherap(?:y|ist|ists))\b")
_RESOLVED = re.compile(
    r"\b(?:if you (?:really|truly|genuinely) want to (?:stop|quit|give up) smoking|(?:truly|really|"
    r"fully) committed|committed to (?:quitting|stopping))\b"
)
_MAY = re.compile(r"\b(?:can|could|may|might)\b")
_BEYOND_HYPNOSIS = re.compile(
    r"\b(?:cure[sd]?|heal\w*|guarantee\w*|depression|phobias?|ptsd|addictions?|alcohol\w*|drugs?|cancer|pain|"
    r"weight|ibs|eczema|panic|disorders?|"
    r"insomnia|permanent\w*|forever|instant\w*|easil?y|effortless\w*|medic\w*|pills?|tablets|cravings?|laser|patch|tea|"
    r"spray|drops|without|no willpower|children|severe|clinical)\b|\d+ ?%"
)
_COLON = re.compile(
    r"^colon(?:ic)? (?:hydrotherapy|irrigation) (?:can|may|"
    r"could) (?:be used to )?(?:help )?(?:to )?relieve (?:occasional )?constipation\b(?! (?:and|,))"
)


def _accepted(sentence: Sentence, said: str, then: str) -> bool:
    """What CAP accepts, hedged: hypnosis for the resolved smoker, for worry, sleep and confidence; colonic irrigation for one thing."""
    if _COLON.match(said):
        return not re.search(r"\b(?:toxins?|detox\w*|cleanse\w*|weight|skin|ibs)\b", f"{said} {then}")
    if not _MAY.search(said) or _BEYOND_HYPNOSIS.search(said):
        return False
    if _RESOLVED.search(said):
        return True
    found = _HYPNOSIS.search(said) is not None and re.search(r"\b(?:used to )?help\b", said) is not None
    return found and re.search(r"\b(?:anxiety|confidence|sleep|smoking)\b", said) is not None


_REGISTERED = re.compile(
    r"\bregistration (?:is not|isn't|does not (?:mean|imply|denote|signify)|doesn't (?:mean|imply)) (?:an? |"
    r"any |fda |their )*(?:approval|endorsement|"
    r"clearance|certification)\b"
)


def _only_registered(sentence: Sentence, said: str, then: str) -> bool:
    """Registered, and it is said that this is no approval."""
    return bool(_REGISTERED.search(said) or _REGISTERED.match(then)) and not re.search(
        r"\b(?:approved|approves|endorsed|endorses|certified|but|same as)\b", f"{said} {then}"
    )


_STUDY_LOSS = re.compile(
    r"\b(?:average|mean|median) (?:weight )?loss of (\d+|one|two|three|four|five|six) (?:pounds|"
    r"lbs?)\b[^.!?]{0,20}\b(?:in|over|after|within) "
    r"(\d+|two|three|four|six|twelve) (weeks|months)\b(?=[^.!?]*\b(?:diet|exercise|walk\w*|calor\w+|meals?)\b)"
)
_TYPICAL_LOSS = re.compile(
    r"\b(?:typical|average|median) (?:participant|member|client|user|person|"
    r"customer)\b[^.!?]{0,12}\b(\d+)[- ](week|month)\b"
    r"(?=[^.!?]*\b(?:diet|exercis\w*|walk\w*|calor\w+|meals?)\b)[^.!?]{0,60}\blost (?:about )?(\d+) (?:pounds|lbs?)\b"
)
_EARNED = re.compile(
    r"\b(?:median|typical|average)\b[^.!?]{0,50}\b(?:earned|made|earns|makes)\b[^.!?]*(?:;|,|\band\b) (?:most|"
    r"many|half)(?: of them)? "
    r"(?:earned|made|make|earn) (?:no (?:profit|money)|nothing|less|a loss)\b"
)
_HASTE = re.compile(
    r"\b(?:without|effortless\w*|easily|easy|guarantee\w*|never|pills?|capsules?|tea|patch|more than|asleep|"
    r"overnight)\b"
)


def _typical_told(sentence: Sentence, said: str, then: str) -> bool:
    """What the typical member got, with the time and the plan, at two pounds a week at most; or that most earned nothing."""
    if _HASTE.search(said):
        return False
    if _EARNED.search(said):
        return True
    if found := _STUDY_LOSS.search(said):
        pounds, time, unit = found.groups()
    elif found := _TYPICAL_LOSS.search(said):
        time, unit, pounds = found.groups()
    else:
        return False
    return modest(number(pounds), time, unit)


_PROGRAMME = re.compile(
    r"\bcompostable\b[^.!?]*\b(?:county|city|municipal|council|local) compost\w* (?:programs?|programmes?|"
    r"facilit\w+|collections?|schemes?)\b|"
    r"\b(?:industrially|commercially) compostable (?:only|where|in)\b|"
    r"\bcompostable (?:only )?in (?:industrial|commercial|municipal)\b[^.!?]*\bfacilit\w+"
)
_TASTY = re.compile(
    r"\b(?:burgers?|pizzas?|cocoa|coffee|tea|cakes?|cookies|biscuits|pies?|fries|chips|sandwich(?:es)?|bagels?|"
    r"pancakes?|soup|tacos?|"
    r"brownies|bread|scones?|chocolate|ice cream|sauce|noodles|curry|mum|mom|dad|grandma|grandmother)\b"
)
_BEYOND_TASTE = re.compile(
    r"\b(?:health\w*|cure[sd]?|weight|slim\w*|fat|diet\w*|remed\w+|heal\w*|detox\w*|doctors?|prov\w+|secret|"
    r"earn\w*|rated|award\w*|voted|"
    r"studies|study|official\w*|number one|no\.? ?1|burn\w*|energy|skin|sleep|immun\w*)\b"
)
_TO_TRY = re.compile(r"\b(?:gave|sent|lent) (?:me|us) (?:this |a |an |some |the )?free \w+ to (?:try|test|review)\b")


def _puffed(sentence: Sentence, said: str, then: str) -> bool:
    """The best burger in the world: taste, which nobody measures."""
    return _TASTY.search(said) is not None and not _BEYOND_TASTE.search(f"{said} {then}")


def _programme(sentence: Sentence, said: str, then: str) -> bool:
    """Compostable where somebody composts it, as it says."""
    return _PROGRAMME.search(said) is not None and "100" not in said


def _given_to_try(sentence: Sentence, said: str, then: str) -> bool:
    """A reviewer names who gave the thing to try, and that it was free, in the words that the FTC gives."""
    return _TO_TRY.search(said) is not None


ALLOWED: dict[str, Callable[[Sentence, str, str], bool]] = {
    "drug_facts": _drug_facts,
    "interaction": _interaction,
    "contraindicated": _contraindicated,
    "explained": _explained,
    "no_evidence": _no_evidence,
    "disowned": _disowned,
    "company": _company,
    "accepted": _accepted,
    "only_registered": _only_registered,
    "typical_told": _typical_told,
    "puffed": _puffed,
    "programme": _programme,
    "given_to_try": _given_to_try,
}
"""The situations of this page, by the names that guards ask for."""
CAUTIONS = ("drug_facts", "interaction", "contraindicated", "explained", "no_evidence", "disowned", "accepted")
"""Those that the guard `advice` spares."""
DENIALS = ("no_evidence", "disowned")
"""Those that deny: what `debunked`, and with it `negated`, spares."""
