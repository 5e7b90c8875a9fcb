"""The words by which situations.py and allowances.py tell what a sentence does. Each is tried only where a rule has already matched."""

from __future__ import annotations

import re


def _row(words: str) -> list[str]:
    return words.split()


def _of(words: str) -> frozenset[str]:
    return frozenset(words.split())


PRONOUNS = _of("our we us this buy order try water app program method package protocol")
OFFER = frozenset(("PRODUCT", "INGEST", "REMEDY", "THERAPY", "ENERGYTECH"))
PLAIN = _of(
    """solution aid support help control plan programme program course machine belt wrap pillow blanket collar treat
    roller wand range pack mat session app water package pen pendant cream drink drinks milk honey shot juice system
    device rub bundle"""
)

SELLS = re.compile(
    r"\b(?:our|ours|my|we|this(?! (?:week|month|evening|morning|minute|is|happens))|these|tea|teas|drops?|"
    r"capsules?|tablets?|pills?|gumm(?:y|ies)|oils?|creams?|patch(?:es)?|"
    r"supplements?|powders?|remed(?:y|ies)|formulas?|tonics?|balms?|juices?|therapy|devices?|sessions?|blends?|extracts?|"
    r"herb\w*|cbd|collagen|turmeric|try|order|buy|shop|instead|cure[sd]?|heal\w*|relie\w+|does|works?|helps?)\b"
)
WORKS = re.compile(
    r"\b(?:cure[sd]?|curing|heal(?:s|ed|ing)?|treat(?:s|ed|ing|ment|ments)?|relie(?:f|ve|ves|ved|ving)|"
    r"eas(?:e|es|ed|ing)|sooth\w+|calm(?:s|ed|ing)?|"
    r"prevent\w*|revers\w+|remed(?:y|ies)|boost\w*|improv\w+|reduc\w+|lower(?:s|ed|ing)?|better|magnet\w*|"
    r"copper|infrared|crystal\w*|detox\w*|miracle|"
    r"fight(?:s|ing)?|fix(?:es|ed)?|stop(?:s|ped)? (?:the|your|my)|healing|therapeutic|cool(?:s|ing)|"
    r"compression|circulation|herb\w*|recover\w*|"
    r"help(?:s|ed|ing)?|gone|vanish\w*|disappear\w*|support(?:s|ed|ing) \w+|supplements?|works?|worked|"
    r"clear(?:s|ed) up|regrow\w*|regain\w*|instead|without)\b"
)
PROFESSIONAL = (
    r"(?:ambulance|emergency|999|911|112|111|a ?& ?e|hospital|poisons? (?:control|centre|center|line)|doctors?|gp|physician|vets?|"
    r"veterinarians?|veterinary|dermatologist|midwife|pharmacist|optician|optometrist|dentist|lifeguard|first aider|paramedics?|"
    r"nurse|crisis line|samaritans|988|care team|diabetes team|oncologist|cardiologist|psychiatrist|urgent care|er)\b"
)
TURN_TO = re.compile(
    r"(?:^|[,;:?–-] ?|\b(?:please|should|must|then|and|to|or|now|just|always|straight|"
    r"never normal) )(?:call|phone|ring|dial|get (?:\w+ ){0,2}to|go (?:\w+ )?to|see|seek|contact|head to|visit|"
    r"speak to|speak with|talk to|tell|ask|have|follow)\b"
    rf"[^.!?;:]{{0,25}}\b{PROFESSIONAL}"
)
TURNED_AWAY = re.compile(
    r"\b(?:don't|do not|never|no need|before you|instead|rather than|without|tired of|stop|why|who|couldn't|could not|can't|what your|"
    r"doesn't|won't|nothing|failed|amazed|hide|truth|secret|miss(?:ed|es)?|root cause|about (?:our|this|these|my)|until|first try)\b"
)
URGENT = re.compile(r"\b(?:is|are|may be|can be) (?:an? )?(?:medical )?emergenc(?:y|ies)\b")
MEDICINE = (
    r"(?:insulin|medicines?|medications?|prescri\w+|antidepressants?|inhalers?|tablets|statins?|chemo\w*|"
    r"anticoagulants?|steroids?|meds|hrt|treatment)\b"
)
KEEP_TAKING = re.compile(
    rf"\b(?:never|don't|do not|please do not|please don't|nobody should|no one should|should not|shouldn't|must not) "
    rf"(?:stop|skip|change|swap|replace|reduce|adjust|delay|put off|come off|halve|stop or change|stop or reduce)\b(?: taking| using)?"
    rf"(?: \w+){{0,2}} {MEDICINE}(?! (?:the|like|as) )"
    r"|\b(?:don't|do not|never) (?:stop|change|skip) (?:taking )?(?:them|it|any of them) (?:\w+ )?without "
    r"(?:talking|speaking|asking|checking)\b"
    rf"|\b(?:keep|continue|carry on) (?:taking|using|with) (?:\w+ ){{0,2}}{MEDICINE}"
    rf"|^(?:no[.,] )?(?:stopping|skipping|swapping|replacing|"
    rf"missing) (?:\w+ ){{0,2}}{MEDICINE}[^.!?]{{0,20}}\b(?:can kill|is dangerous|can be dangerous|can be fatal|is risky|could kill)"
)
TAKEN_BACK = re.compile(
    r"\b(?:but|until|again|except|yet|though|unless your body|our|ours|because you won't|throw|bin)\b"
)

NO_SUCH = re.compile(
    r"^(?:(?:and|so|but|remember|reminder|plainly|honestly|fact)[:,]? )?(?:no|not one|none of (?:our|these|the)|not a single) "
    r"(?!one\b|more\b|longer\b|need\b|wonder\b|doubt\b|matter\b|doctor|pharma|scientist|pain|side|diet|"
    r"exercise|drug|needle|prescription|medic|gym|surgery|risk|other\b|better\b|effort|hunger|\w+ing\b)"
    r"(?:[\w'-]+ ){1,5}?(?:will |can |could |does |ever |should |has ever )?(?:replaces?|cures?|treats?|"
    r"heals?|burns?|melts?|prevents?|reverses?|removes?|"
    r"fix(?:es)?|shrinks?|stops?|ends?|takes? the place|stands? in for|substitutes?|makes? up for|"
    r"dissolves?|protects?|detox\w*|grows?|regrows?|is (?:a |any )?(?:cure|replacement|substitute|alternative))\b"
)
BUT_OURS = re.compile(
    r"\b(?:like|as|than|except|but|until|unless|other|beats?|better|faster|so (?:well|fast|quickly)|"
    r"(?<!of )ours|quite|this one|apart from|yet|tell you that|(?:this|our) \w+ (?:does|cures?|treats?|heals?|helps?))\b"
)
ANSWER = re.compile(
    r"^\s*(?:but|except|until|ours? (?:does|do|can|will|is|are)|this one|it does|now|yet|then we|"
    r"that changes|try|meet|introducing|our \w+ (?:does|do|can|will|cures?|treats?|heals?|takes?|replaces?))\b"
)
NO_ALTERNATIVE = re.compile(
    r"\b(?:is|are|isn't|aren't|was|were) (?:no|not|never|not an?|an?|no real|not a real) ?(?:alternative|"
    r"substitute|replacement|stand-in|swap)s? (?:to|for|of)\b"
)

FORM = re.compile(
    r"\b(?:go|goes|belong|belongs) on (?:the|your) (?:\w+ )?(?:form|card|sheet)\b|"
    r"(?:^|\b(?:please|so|and|also|kindly|first|do) )(?:tell|let|list|mention|note|inform|remind|write|"
    r"ask us|share|email|flag|declare|give|add)\b"
    r"(?=[^.!?]{0,40}\b(?:us|me|know|form|teacher|instructor|therapist|staff|host|chef|kitchen|front desk|"
    r"reception|team|booking|server|waiter|practitioner|coach|below|card)\b)"
    r"[^.!?]{0,120}"
)
INTAKE = re.compile(
    r"\b(?:allerg\w+|pregnan\w+|injur\w+|operation|surgery|medications?|medicines?|conditions?|asthma|"
    r"epilep\w+|heart|blood|clots?|diabet\w+|pacemaker|"
    r"intoleran\w+|coeliac|celiac|implants?|illness\w*|seizures?|skin|eczema|back|knees?|sensitiv\w+)\b"
)
THEN_SELLS = re.compile(
    r"\b(?:and|so|so that|then) (?:we|i|our \w+)(?:'ll| will| can|'d)? ?(?:\w+ )?(?:send|match|mix|pick|"
    r"recommend|prescribe|treat|heal|fix|blend|cure|help|clear|"
    r"choose|create|formulate|find|ease|end|take care|get rid|suggest|show|work)\b|\b(?:oil|tea|cream|"
    r"drops|capsules|supplements?|remedy|remedies|blend|formula)\b"
)

PEOPLE = (
    r"(?:people|customers?|clients?|guests?|visitors?|adults?|readers?|those|anyone|everyone|children|kids|"
    r"families|parents|carers|shoppers|members|swimmers|dancers|players|runners|students|pupils|veterans|audiences?|residents|neighbours|"
    r"neighbors|women|men|walkers|staff|colleagues)"
)
ROOM = re.compile(
    r"\b(?:come as you are|scissors|clothes|employs?|hours?|evening|morning|screening|performance|seats?|seating|chairs?|row|queue|"
    r"lane|lift|ramp|caps?|hats?|scar(?:f|ves)|turbans?|beanies?|wigs?|socks|"
    r"shirts?|bra|bras|shoes|trousers|bookshop|cafe|shop|library|choir|club|group|menu|planner|notebook|"
    r"lesson|class|classes|tour|walk|meet-?up|room|table|"
    r"slippers|gloves|cutlery|zip|zips|buttons|labels?|line|quiet|low-light|captions?|large[- ]print|"
    r"bench(?:es)?|path|gluten[- ]free|parking|toilet|pool|carriage|card|cards|badge|lanyard)\b"
)
FOR_PEOPLE = re.compile(
    rf"\b{PEOPLE} (?:who (?:have|live|are|lost|lose|have lost|use|get)|with|living with|on|in|after|going through|recovering)\b|"
    rf"\b(?:autistic|diabetic|disabled|dyslexic|arthritic|deaf|blind|neurodivergent|epileptic|coeliac|celiac) {PEOPLE}\b|"
    r"\b(?:during|through|after|to|on) (?:chemo(?:therapy)?|radiotherapy|dialysis)\b|"
    r"\b(?:our|the|my|her|his) (?:founder|owner|designer|baker|editor|teacher|guide|barista|potter|author|"
    r"daughter|son|brother|sister|co-founder) (?:has|is|lives with|was diagnosed with)\b|"
    r"\bcome as you are\b|\b(?:for|welcomes?|suits?) (?:tired|stiff|creaky|sore|bad|dodgy|old) (?:knees|"
    r"hips|backs?|feet|joints|legs|shoulders)\b|\b(?:autism|dementia|disability)[- ](?:friendly|aware)\b|\bday(?:s)? (?:is|are) hard\b"
)
BOOKING = re.compile(
    r"\b(?:move|moves|change|swap|rebook|reschedule|refund|hold|postpone|"
    r"cancel)\b[^.!?]{0,20}\b(?:lessons?|bookings?|class|classes|appointments?|slots?|tickets?|dates?|"
    r"sessions?|orders?|seats?|place|stay|table)\b"
)
LABEL = re.compile(
    r"\b(?:read|see|check|count)\b[^.!?]{0,20}\b(?:label|carbohydrate|carbohydrates|carbs|sugars?|nutrition|"
    r"ingredients|allergen|line)\b|\bphenylalanine\b"
)

CAUSE = re.compile(
    r"\b(?:wear|dress in|pin on|light up in) \w+ for \w+ (?:day|week|month)\b|"
    r"\b(?:hospice|fun run|sponsored|walk to (?:end|beat|stop|conquer)|(?:walk|run|ride|row|swim|race|"
    r"relay|step|march|dance|bake|light) (?:for|against) (?:life|a cure|\w+)|"
    r"(?:ride|run|race|row|swim|bike|march) to (?:end|beat|stop|conquer|fight|cure)|collection tins?|raffle|bake sale|coffee morning|"
    r"(?:per ?cent|%|part|share|all|half|profits?|proceeds|takings|pound|dollar|euro|pence|cents|"
    r"p)\b[^.!?]{0,40}\b(?:goes|go|given|went|donated|passed)\b (?:\w+ )?to|"
    r"(?:breast |lung |heart )?(?:screening|scanner|mammogram) (?:bus|van|unit)|appeal|telethon|remembrance|donor|in memory)\b"
)
WALK_VERB = re.compile(
    r"\b(?:walk|ride|run|race|row|swim|bike|march|team)s? (?:to|for|against) (?:end|beat|stop|conquer|fight|a|the|cure)?\b ?(?:cure\b)?"
)

OWN = re.compile(
    r"^(?:content|trigger) (?:note|warning)s?\b|\bback (?:in|at) (?:the|my|our) (?:studio|shop|kitchen|bakery|workshop|classroom|desk|"
    r"garden)\b|\b(?:photo|\w+itis|cancer|illness|hospital) diary\b|"
    r"^(?:my|our|one|a|the|\w+|\d+) (?:\w+ )?(?:year|years|month|months|week|weeks|day|diary|life|time|"
    r"winter|summer) (?:with|of|living with|after|since|free of|sober|in)\b|"
    r"\bwhat\b[^.!?]{0,40}\b(?:was|is|felt|feels)\b (?:really |actually )?like\b|\bletter to my\b|"
    r"\bdiary of\b|\bdays? in (?:the )?hospital\b|\bliving with\b[^.!?]{0,30}\b(?:diary|story|vlog|letters?|journal)\b|"
    r"\b(?:i was|being) diagnosed\b[^.!?]{0,40}\b(?:year|age|what i|how it|when i)\b"
)
OUTCOME = re.compile(
    r"\b(?:thanks to|because of|secret|how i (?:beat|cured|healed|quit|fixed|got rid|reversed|stopped|"
    r"overcame|recovered|lost|did|survived)|cured|healed|beat|reversed|recovered|natural\w*|diet|juice|"
    r"herbs?|plants?|prayer|fasting|cleanse|carnivore|vegan|keto|raw|instead|quit|refused|said no|drops|"
    r"gone|remission|without|until|got me through|saved|kept me|swear|product|routine|"
    r"oils?|tea|mushrooms?|cbd|vitamin\w*|supplements?|capsules?|powder|meditat\w*|yoga|ditch\w*|"
    r"off (?:my|all)|miracle|healer|alternative|protocol|method|this one|link|code)\b"
)

REFUSED = re.compile(
    r"\b(?:we|i|our \w+|the shop|this shop|which we|and we) (?:have |has |had |'ve )?(?:no longer|stopped|"
    r"don't|do not|does not|never|will not|won't|refuse to|refused to|quit|declined to|cannot|can't|will never|gave up|took down)"
    r" (?:to |ever )?(?:stock|stocking|sell|selling|say|saying|claim|claiming|carry|carrying|offer|"
    r"offering|make|making|print|printing|promise|promising|post|advertise|recommend|call)\b"
)
REFUSAL_TURNS = re.compile(
    r"\b(?:because|but|since|now that|as our|you won't|you don't|instead of|why|without|nobody needs|"
    r"no need|needed|anything else|other)\b"
)

NHS = re.compile(
    r"\b(?:nhs|stop smoking service|quitline|helpline|samaritans|council|health (?:service|authority|"
    r"department)|citizens advice|public health|988)\b"
)
VACCINE_FACT = re.compile(
    r"\b(?:vaccin\w+|jabs?|shots?|chemo\w*|5g|sunscreen|fluoride)\b[^.!?,]{0,20}\b(?:doesn't|does not|"
    r"don't|do not|did not|didn't|never|cannot|can't|isn't|is not|won't|will not) (?:cause|causes|alter|"
    r"change|give|contain|spread|make|harm|linked|kill|lead)\b"
)
FACT_TURNS = re.compile(
    r"\b(?:say|says|said|claim|claims|believe|think|told|tell|want you|but|wrong|lie|lies|lied|if you|who|"
    r"safe without|our|yet|fool\w*|pretend\w*|really\?)\b"
)

OTC_ACTIVE = re.compile(
    r"\b(?:ibuprofen|paracetamol|aspirin|acetaminophen|naproxen|loratadine|cetirizine|fexofenadine|"
    r"loperamide|hydrocortisone|clotrimazole|gaviscon|alginate|antacid|simethicone|calcium carbonate|omeprazole|nicotine|guaifenesin|"
    r"dextromethorphan|diphenhydramine|chlorphenamine|xylometazoline|diclofenac|aciclovir|senna|rehydration salts|antihistamine)\b"
)
READ_LABEL = re.compile(
    r"\balways read the (?:label|leaflet|instructions|patient information)\b|"
    r"\buse (?:only )?as directed\b|\bread (?:the )?(?:label|leaflet) (?:first|before)\b"
)
BEYOND_OTC = re.compile(
    r"\b(?:cure[sd]?|heals?|arthritis|cancer|diabetes|depression|covid|miracle|permanent\w*|forever|"
    r"natural|herbal|prevents?|instantly|guaranteed|natural)\b"
)
HERBAL_REGISTERED = re.compile(
    r"\btraditional herbal (?:medicinal product|medicine)\b[^!?]*\bexclusively (?:based )?(?:up)?on long[- ]?standing use\b"
)
MONOGRAPH = re.compile(
    r"\b(?:lubricating|moistening) eye drops\b|\bcondoms? helps? (?:to )?(?:protect|prevent)\b|"
    r"\b(?:fluoride\w*)\b[^.!?]{0,60}\b(?:cavit\w+|tooth decay|caries|dental decay)\b|\b(?:cavit\w+|"
    r"tooth decay|caries)\b[^.!?]{0,40}\bfluoride\b|"
    r"\b(?:chewing gum|sugar[- ]free gum)\b[^.!?]{0,60}\b(?:plaque acids?|dry mouth|oral dryness|tooth mineralisation)\b|"
    r"\b(?:pyrithione zinc|zinc pyrithione|selenium sulfide|selenium sulphide|coal tar|ketoconazole|"
    r"salicylic acid)\b[^.!?]{0,50}\b(?:dandruff|flaking|seborr\w+)\b|"
    r"\b(?:anti-?dandruff|dandruff)(?: \w+)? shampoos?\b|\bshampoos? (?:for|against) (?:\w+ )?dandruff\b|"
    r"\b(?:otc|over-the-counter) hearing aids?\b[^.!?]*\bperceived mild to moderate hearing loss\b|"
    r"\b(?:iron|your daily iron)\b[^.!?]{0,40}\bcarry oxygen\b|"
    r"\bprotein\b[^.!?]{0,40}\bcontributes to (?:a |the )?(?:growth|maintenance) (?:in|of) (?:normal )?(?:muscle mass|bones)\b|"
    r"\bvitamin c\b[^.!?]{0,40}\bnormal collagen formation\b|"
    r"\bprevents? (?:scurvy|rickets|beriberi|pellagra)\b[^.!?]*\b(?:rare|uncommon|rarely)\b|"
    r"\b(?:toothpaste|toothbrush|brush|floss|rinse)\b[^.!?]{0,25}\bremoves? plaque\b|"
    r"\bdeodorants?\b[^.!?]{0,40}\bbody odou?r\b|\bbody odou?r\b[^.!?]{0,40}\bdeodorants?\b"
)
BEYOND_MONOGRAPH = re.compile(
    r"\b(?:cure[sd]?|heals?|revers\w+|regrow\w*|rebuild\w*|repairs?|permanent\w*|forever|psoriasis|eczema|"
    r"gum disease|gingivitis|hair loss|regrowth|drops|never (?:see|need)|no more|without|instead|better than|heart|cancer|"
    r"immun\w*|100 ?%|detox\w*|poison\w*|herbal|natural|miracle|anaemia|anemia|fatigue|energy)\b"
)

STARS = re.compile(
    r"\b(?:zodiac|horoscopes?|star signs?|leo|virgo|capricorn|aquarius|pisces|sagittarius|scorpio|taurus|gemini|libra|aries)\b"
)
DOORBELL = re.compile(r"\b(?:doorbell|telephone|phone|church bells?|alarm clock|bicycle bell|kettle|brass band)\b")
TREES = re.compile(r"\b(?:prun\w+|trees?|branch\w*|bark|maple|oak|pear|apple tree|roses?|graft\w*|trunk|hedge|bough)\b")
WORKS_ON_BODY = re.compile(
    r"\b(?:your|my|her|his) (?:skin|body|wounds?|ears?|face|gut|hair|joints?|pain)\b|\b(?:tinnitus|skin|"
    r"patients?|balm|oil|extract|tea|cream)\b"
)

FAILED = re.compile(r"\b(?:failed|fails|won't|will not|instead|but|doesn't|useless|forget)\b")
SELLING = re.compile(
    r"\b(?:cure[sd]?|heals?|healing|revers\w+|our (?:tea|oil|drops|cream|balm|capsules?|soap|spray|patch|"
    r"supplements?|formula|gel)|faster|truth|hid(?:e|es|ing|den)?|lies|lied|mother who|instead|without|ends?|relieves?|calms?)\b"
)
CARE_TAKEN = re.compile(
    r"\bcooling[- ]off\b|\b(?:consultation|second opinion|consent form)\b[^.!?]{0,40}\b(?:surgery|operation|procedure|treatment)\b|"
    r"\buntil the (?:numbness|anaesthetic|anesthetic|injection)\b|\bshould (?:never|not) (?:cause|hurt|be painful|bring)\b|"
    r"^(?:please )?wash(?:ing)? (?:your |their )?hands\b|\bside effects? of\b[^.!?]{0,40}\b(?:leaflet|nhs|yellow card|pharmacist)\b|"
    r"\b(?:ask|consult|check with|speak to|speak with|talk to|tell) (?:your|a|the) (?:\w+ )?"
    r"(?:veterinarian|vet|gp|midwife|pharmacist|oncologist|dentist|dietitian|physician|doctor|"
    r"cardiologist|health visitor)\b[^.!?]{0,20}\b(?:before|first)\b"
)
COUNSELLING = re.compile(
    r"^(?:(?:registered|qualified|accredited|private|online|free|our) )*counsell?(?:ing|ors?) (?:for|"
    r"about|around) (?:depression|anxiety|grief|bereavement|stress|couples)\b|"
    r"\b(?:support|peer|self-help) (?:evening|group|circle|meeting|line|cafe|hour)s? for\b"
)
_NUMBERS = {word: n for n, word in enumerate(_row("one two three four five six seven eight nine ten eleven twelve"), 1)}


def number(word: str) -> int:
    """What a number says, in digits or as a word; 0 for any other word."""
    return int(word) if word.isdigit() else _NUMBERS.get(word, 0)


def modest(pounds: float, time: str, unit: str) -> bool:
    """Whether so many pounds in so many weeks or months are two a week at most."""
    return 0 < pounds <= 2 * number(time) * (4 if unit.startswith("month") else 1)


TYPICAL_LOSS = re.compile(
    r"\b(?:typical(?:ly)?|most|average|on average)\b[^.!?]{0,40}\b(?:lose|loses|"
    r"lost)\b[^.!?]{0,20}?\b(\d+|[a-z]+) (pounds?|lbs?|kg|kilos?)\b"
    r"[^.!?]{0,20}\b(?:over|in|after|within|across) (?:the first )?(\d+|[a-z]+) (weeks|months)\b"
    r"(?=[^.!?]*\b(?:plan|diet|walk\w*|exercis\w*|class\w*|calor\w+|meals?|programme|program)\b)"
)
EASE = re.compile(
    r"\b(?:without|effortless\w*|easily|easy|while you sleep|no exercise|no diet\w*|guarantee\w*|never|pills?|capsules?|tea|patch|more)\b"
)
IN_A_DIET = re.compile(
    r"\b(?:slimming|weight (?:control|loss|management))\b[^.!?]{0,20}\bonly (?:as|when|"
    r"if) (?:\w+ ){0,3}part of an? (?:calorie|energy|kilojoule)[- ](?:controlled|restricted|reduced) diet\b"
)
HASTE = re.compile(
    r"\d|\b(?:fast|quick\w*|rapid\w*|overnight|pounds|kilos|stone|burns?|melts?|easy|effortless\w*|guarantee\w*)\b"
)
WASTE_TOLD = re.compile(
    r"\brecyclable\b[^.!?]{0,20}\b(?:only (?:in|where|at|through)|at (?:the )?(?:kerbside|curbside|tip|"
    r"shop)|in (?:few|some|most) (?:towns|places|areas))\b|"
    r"(?:^|[;,:] |\b)(?:but )?(?:the |its )?(?:pump|lid|cap|film|window|label|sleeve|tray|liner|spout|"
    r"nozzle|ribbon|wrapper|bag|spring|tape|trigger|dropper|foil) (?:\w+ )?(?:is|are) not\b|"
    r"\bnot yet recyclable\b|\bcheck (?:yours|your (?:council|town))\b"
)
PRICED = re.compile(
    r"\b(?:cancel (?:online|any time|anytime|whenever|in)|trial|contract|subscri\w+|membership|(?:day|"
    r"week|month|season|guest) pass|billed|bills|renews?|rent|deposit|entry|tickets?|concessions?|students? [$£€])\b"
)
EARNING = re.compile(
    r"\b(?:earn\w*|ma(?:ke|kes|king|de)|income|profit\w*|paid|cash|passive|returns?|jobs?|boss|rich|sofa|"
    r"commission|invest\w*|trad(?:e|ing)|bonus|wins?|pull\w*|clear\w*)\b"
)
SKIN_TESTED = re.compile(
    r"\b(?:dermatologically tested|dermatologist[- ]tested|tested by dermatologists?|"
    r"tested under dermatolog\w+ (?:control|supervision))\b"
    r"[^.!?]{0,30}\bon (?:\d+|[a-z]+) (?:adults?|volunteers?|people|women|men|testers)\b"
)
SKIN_OUTCOME = re.compile(
    r"\b(?:prov\w+|reduc\w+|wrinkles?|acne|eczema|cures?|heals?|clinical\w*|visibl\w+|results?|safe|"
    r"improv\w+|clear\w*|fad\w+|anti|lift\w*|works?|capsules?|supplement|works|calms?|rash|psoriasis|\d+ ?%)\b"
)
CLEARED = re.compile(
    r"\b(?:monitor|thermometer|oximeter|hearing aids?|glucose meter|stethoscope|nebuli[sz]er|breast pump|"
    r"otoscope|tens (?:unit|machine))\b[^.!?]{0,40}\bfda[- ]cleared\b|"
    r"\bfda[- ]cleared\b[^.!?]{0,30}\b(?:monitor|thermometer|oximeter|hearing aids?|glucose meter|"
    r"stethoscope|nebuli[sz]er|breast pump|otoscope)\b"
)
GIFT_TOLD = re.compile(
    r"\b(?:received|got|given|sent)\b[^.!?]{0,40}\bfree\b[^.!?]{0,50}\b(?:in return for|"
    r"in exchange for) (?:an? |my )?honest (?:review|opinion|feedback)\b"
)
MANUAL = _of(
    """osteopath osteopaths osteopathy osteopathic chiropractic chiropractor chiropractors physiotherapist physiotherapists
    physiotherapy physio physios"""
)
NOT_OF_FRAME = _of(
    """cure cures cured curing reverses guarantees guaranteed baby babies colic infant infants child children detox cranial
    heals permanent permanently asthma instead"""
)
OF_FRAME = _of(
    "fasciitis sprain sprains strain strains necks aches symptoms symptom hip knee knees elbows shoulders cramps"
)
EXERCISE = re.compile(
    r"^(?:our |the |this )?(?:exercise|spin|dance|rowing|gym|walking|running|cycling|aerobics|swimming|"
    r"boxing|skipping|circuit)\b[^.!?]{0,25}\bburn(?:s|ing)? (?:some |a few |off )?calories\b"
)
BEYOND_EXERCISE = re.compile(
    r"\d|\b(?:fat|pounds?|kilos?|stone|fast\w*|quick\w*|without|effortless\w*|sleep|belly|twice|double|"
    r"hundreds|thousands|all day|for hours)\b"
)
NO_ANSWER = re.compile(
    r"(?:no|nope|not at all|sadly not|it doesn't|it does not|they don't|nothing does|"
    r"not one)\b(?! (?:need|more|longer|wonder|doubt|side))|"
    r"(?:the )?(?:fda|evidence|nhs|who|research|science|mhra|cancer research uk) (?:says|is) (?:no|clear: no)\b|"
    r"(?:we|i)(?:'ve| have)? (?:seen|found|know of|have) (?:no|not any) (?:\w+ )?(?:evidence|proof|sign)\b|"
    r"there (?:is|isn't|is not) (?:no|any)?(?: \w+)? ?(?:evidence|proof)\b|there is no (?:\w+ )?(?:evidence|proof)\b"
)
BETTER = re.compile(
    r"\b(?:better|faster|other|another|anything|nothing|more|who|how|but|until|instead|except|unless|"
    r"ours?|try|meet|this one|without|we|you need|hope|tried)\b"
)
OURS_DOES = re.compile(r"(?:but |yet )?(?:ours|this one|our \w+) (?:does|do|did|can|will|is different)\b")
AND_IT_CURES = re.compile(
    r"(?:; ?|, ?(?:and |but )|\b(?:and|but) )(?:it|this|ours|our \w+) "
    r"(?:cures?|heals?|shrinks?|reverses?|treats?) (?!with|as|people|guests)\w+"
)
NO_LIKE_OURS = re.compile(
    r"^no (?:doctor|pharmacist|pharmacy|company|physician|dentist|vet)s?\b[^.!?]{0,30}\b(?:tell|tells|"
    r"admit|admits|say|says) (?:you )?that\b|"
    r"^no\b[^.!?]*\bas (?:well|fast|quickly|good|effectively|deeply|surely) as (?:our|ours|this|these)\b"
)
ANSWER_TURNS = re.compile(
    r"\b(?:but|until|instead|except|unless|ours?|try|meet|this one|without|hope|tried|better|nothing else|unlike|only (?:our|this))\b"
)
WARNED = re.compile(
    r"\b(?:is|are|would be|was|were) (?:a |an )?(?:fraud|fraudulent|scam|scams|hoax|breaking the law|"
    r"against the law|illegal|quackery|false|lying|fake)\b|"
    r"^how to (?:spot|report|recognise|recognize|avoid) (?:a |an )?(?:fake|false|bogus|fraudulent|sham)\b|"
    r"\b(?:there is|there's) no such thing as\b|\bno honest (?:seller|shop|doctor|brand) \w+|"
    r"\b(?:crystals?|candles?|stones?|bracelets?|magnets?|oils?) (?:do not|don't|does not|doesn't|cannot|"
    r"can't|never) (?:cure|heal|treat|fix)\b"
)
WARNED_BUT = re.compile(
    r"\b(?:but|until|except|unless|ours (?:do|does|is the|are the|cure|heal|treat)|this one|unlike|"
    r"instead|until now|doctors|pharma|vaccines?|chemo\w*|medicine|as well as|like ours)\b"
)
WEEKLY = re.compile(
    r"\b(?:average|typical(?:ly)?|most)\b[^.!?]{0,30}\bloses? (?:about )?(?:1|one|a)(?: (?:to|or) (?:2|two))? pounds? (?:a|per|"
    r"each) week\b[^.!?]*\b(?:diet|exercise|plan|walking)\b"
)
WEATHER = re.compile(
    r"\bdepression\b[^.!?]{0,20}\b(?:over|off|near|tracks|moves)\b[^.!?]*\b(?:rain|coast|wind|gales|snow|iceland|atlantic|ireland|"
    r"biscay)\b"
)
HEALS = re.compile(
    r"\b(?:to|that|which|will|it|and|daily) (?:heals?|cures?|reverses?|regrows?|shrinks?|dissolves?) (?!ham|bacon|olives|meat)\w+"
)
