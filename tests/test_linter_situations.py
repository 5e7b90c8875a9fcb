"""Words of illness that promise nothing, each beside a claim that only sounds like it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from config.vocabulary import CheckResult
from tools.checks import context, situations
from tools.checks.engine import fold, lint_text

SPARED = {
    "emergency": [
        "Sharp pain behind one eye? Get to A&E tonight.",
        "Sudden loss of feeling in one arm is an emergency. Ring for an ambulance.",
        "If your cat has a seizure on the way home, phone the nearest vet.",
        "A persistent cough? See your GP this week.",
    ],
    "keep_taking": [
        "Please do not stop your antidepressants over anything we post here.",
        "Never skip a prescribed inhaler on the word of a stranger online.",
    ],
    "no_such": [
        "No herb takes the place of insulin, and no shop should hint at it.",
        "No drink melts three kilos of fat in a week.",
    ],
    "intake": [
        "Please tell your instructor about asthma, a pacemaker or a recent operation.",
        "Let us know on the form if you are pregnant or have epilepsy.",
    ],
    "room_for": [
        "The early swim on Sundays is a quiet lane for autistic swimmers.",
        "Cotton hats for people going through chemotherapy, sewn in Leeds",
        "Migraine on the day? Write to us and we swap your booking free.",
        "Guests with diabetes can read the carbohydrate figure on every menu card",
        "The back row has chairs for stiff knees.",
    ],
    "cause": [
        "Bake sale on Friday for the children's cancer unit",
        "We walk to beat Parkinson's on the first of May, dogs welcome.",
        "Five per cent of every mug goes to the arthritis society in town",
    ],
    "own_story": [
        "My winter with lupus: the books, the visitors, the view",
        "What dialysis is really like, told by a bus driver",
        "A letter to my first epilepsy nurse",
    ],
    "refusal": [
        "We no longer sell ear candles for tinnitus.",
        "We stopped stocking detox drops in spring and send refunds.",
        "We no longer carry homeopathic teething gel.",
    ],
    "vaccine_fact": ["The flu jab does not cause the flu.", "Myth: MMR. Fact: vaccines do not cause autism."],
    "licensed": [
        "Paracetamol for headaches and fever. Always read the label.",
        "Cetirizine tablets for hay fever; always read the leaflet",
        "A traditional herbal medicinal product used to relieve the symptoms of mild anxiety, based exclusively on long-standing use",
    ],
    "monograph": [
        "Our fluoride rinse helps prevent cavities between brushings",
        "Selenium sulfide shampoo for dandruff, twice a week",
        "Deodorant for body odour and long train rides",
        "Chew it after lunch: sugar-free chewing gum helps neutralise plaque acids",
    ],
    "public_service": ["Ready to quit smoking? Your local NHS clinic runs a free group."],
    "other_sense": [
        "Cancer and Capricorn get the sea-blue mugs, Leo the gold",
        "Hear a ringing in your ears? It is the new church bells.",
        "Pruned branches of a plum: the cuts heal by June.",
    ],
    "skin_tested": [
        "Tested by dermatologists on 30 adults with sensitive skin",
        "A soap tested by dermatologists on 60 volunteers",
    ],
    "cleared": [
        "Digital thermometer, FDA cleared, number on the box",
        "Pulse oximeter, FDA cleared as a device for home use",
    ],
    "modest": [
        "Members typically lost 5 pounds over ten weeks on the meal plan and daily walks.",
        "Rowing burns calories and wakes you up",
    ],
    "waste_told": [
        "The box is recyclable; the lid is not.",
        "Cup recyclable only in towns that take waxed card, ask yours",
    ],
    "priced": ["It is £12 a month, cancel online whenever you like", "Week pass $20, month $55"],
    "care": [
        "We keep a two-week cooling-off period before surgery",
        "Side effects of vaccines, read out from the NHS leaflet",
    ],
    "counselling": ["Registered counsellors for grief and depression, by phone"],
    "gift_told": ["I got a free lamp in exchange for an honest review: the switch is stiff"],
    "warned": [
        "A supplement that promises to cure arthritis is breaking the law.",
        "How to spot a fake cancer cure, by a pharmacist",
        "Crystals do not cure illness. Ours are for looking at.",
    ],
    "answered_no": [
        "Does cranberry juice treat a urine infection? No, it only tastes of one.",
        "Is honey a cure for hay fever? There is no good evidence.",
        "Can tea cure cancer? No, and anyone who says so is selling something.",
        "Will this stone cure anything? We have seen no proof.",
    ],
    "drug_facts": [
        "Active ingredient: benzoyl peroxide 5%. Use: for the treatment of acne",
        "First aid to help protect against infection in minor scrapes",
        "Relieves the symptoms of dandruff. Active ingredient: coal tar 1%.",
    ],
    "interaction": [
        "Liquorice can raise your blood pressure.",
        "Grapefruit may affect how certain statins work.",
        "This herb can reduce the effectiveness of antidepressants.",
        "Sunbeds: tanning increases your risk of skin cancer.",
    ],
    "contraindicated": [
        "Total contraindications: epilepsy, thrombosis",
        "If you were told that you have diabetes, we need a letter from your doctor.",
        "Stop using the cream if itching or a rash develops.",
        "Sit out the breath holds if you have asthma.",
    ],
    "explained": [
        "An oncologist explains where this rumour began.",
        "Your kidneys and liver already do that for free.",
    ],
    "no_evidence": [
        "There is no good proof that our copper bangle treats arthritis.",
        "Claims that foot pads draw out toxins are unsupported.",
    ],
    "disowned": [
        "A guest wrote that our soap healed her eczema. We removed that review.",
        '"Cures insomnia" is not a phrase we print.',
        "No soap, oil or candle we sell treats depression.",
    ],
    "company": [
        "Our regulars include people living with cancer, who like the calming hour.",
        "A memoir of living with epilepsy, in forty drawings",
        "Flu season again: please wash your hands at the door",
        "Menopause café: tea, books and talk on Mondays",
    ],
    "accepted": [
        "Hypnosis could be a way to help you give up smoking.",
        "If you truly want to quit smoking, a session could be the start.",
        "Colonic irrigation may help relieve constipation.",
    ],
    "only_registered": ["Registered with the FDA, and registration does not mean approval."],
    "typical_told": [
        "The average member of our 12-week walking and meals group lost about 6 pounds.",
        "A study of ours found an average loss of 4 pounds in two months with a plain diet.",
        "The median stylist earned $900 for the year, and most made nothing.",
    ],
    "puffed": ["The world's best cinnamon bagels, says the baker", "Best pancakes in the world, come early"],
    "programme": [
        "Compostable cups for the city composting scheme",
        "Commercially compostable only, never in a garden heap",
    ],
    "given_to_try": ["Acme gave me free product to review."],
}
FLAGGED = {
    "emergency": [
        "Chest pain? Call us for our hawthorn drops.",
        "Joint pain? Ask your doctor about our collagen.",
        "A stiff neck and fever? See our doctor for an oil that cures it.",
        "Migraines? See your GP. Our patch stops them.",
    ],
    "keep_taking": [
        "Never stop your antidepressants cold: our drops take over from the medication.",
        "Keep taking your tablets until our tea reverses your diabetes.",
    ],
    "no_such": [
        "No other herb takes the place of insulin like ours.",
        "No candle treats depression. Ours does.",
        "No drink melts three kilos of fat in a week, but this one will.",
        "No pill cures arthritis as well as our balm",
        "No insulin needed: this tea replaces it",
    ],
    "intake": [
        "Tell us about your asthma and we will send the right oil.",
        "Tell us about your eczema so that we can mix a cream that heals it.",
        "Let us know about your arthritis: our therapists ease it.",
        "List your allergies on the form and we will cure them.",
    ],
    "room_for": [
        "Copper socks for people with arthritis: less pain",
        "Magnetic hats for people going through chemotherapy",
        "Our owner has epilepsy and these lamps stopped her seizures",
        "Guests with diabetes leave with lower sugar",
        "A chair that ends stiff knees",
        "Migraine? We move your booking up and our oil treats it.",
    ],
    "cause": [
        "Bake sale for the cancer ward: our cake fights cancer",
        "Five per cent goes to the arthritis charity, and the balm relieves arthritis",
        "Walk to beat Parkinson's with our mushroom capsules",
    ],
    "own_story": [
        "My winter with lupus, and the juice that ended it",
        "What dialysis is really like until you find this tea",
        "Ten years free of migraine thanks to magnesium",
        "My year with cancer: how I healed without chemo",
    ],
    "refusal": [
        "We no longer sell painkillers because our balm cures arthritis.",
        "We stopped selling pills: this tea treats diabetes instead.",
        "We never say never: our oil treats asthma.",
        "She no longer takes her insulin.",
        "We stopped using our inhalers in May.",
    ],
    "vaccine_fact": ["They say vaccines do not cause autism, but we know better."],
    "licensed": [
        "Turmeric tablets for headaches and joint pain. Always read the label.",
        "Ibuprofen cures arthritis. Always read the label.",
        "A traditional herbal remedy that relieves mild low mood and depression",
    ],
    "monograph": [
        "Our herbal rinse without fluoride heals cavities",
        "Ketoconazole shampoo for dandruff that also regrows hair",
        "Chewing gum that cures gum disease",
    ],
    "public_service": [
        "Ready to quit smoking? The NHS failed you, our patch will not.",
        "Ready to quit smoking? Our laser session does it in an hour.",
    ],
    "other_sense": [
        "Cancer or Leo, our tea heals cancer",
        "Ringing in your ears? Our drops stop it.",
        "Tree bark heals your skin",
    ],
    "skin_tested": [
        "Tested by dermatologists on 30 adults and proven to reduce wrinkles",
        "Clinically tested: works on 60 adults",
    ],
    "cleared": ["FDA cleared necklace that lowers blood pressure", "Our tea is FDA cleared"],
    "modest": [
        "Members typically lost 30 pounds in two weeks on the meal plan.",
        "Members lost 25 pounds over ten weeks.",
        "Rowing burns 900 calories and melts belly fat",
    ],
    "waste_told": ["Recyclable, like everything we make"],
    "priced": ["Make $900 a month online, cancel your job", "$500 a week from your sofa"],
    "care": ["Take it before surgery to heal faster", "Side effects of vaccines that the NHS leaflet hides"],
    "counselling": ["Counselling for depression that cures it in three sessions"],
    "gift_told": ["I got a free lamp and love it"],
    "warned": [
        "Magnets do not cure arthritis as well as ours do.",
        "They say it is illegal, but this tea cures arthritis.",
        "Chemo is a fraud: our drops treat cancer",
    ],
    "answered_no": [
        "Does anything treat a urine infection better? No, cranberry drops are it.",
        "Does anything else cure arthritis? No. Our balm does.",
        "Do pills cure anything? We have seen no proof, try our oil.",
        "Do crystals heal anything? We have seen no limits.",
    ],
    "drug_facts": [
        "Active ingredient: tea tree oil 5%. Use: cures acne for good",
        "First aid to help prevent infection in minor cuts: natural, heals scars",
        "For the treatment of acne: our honey soap",
        "First aid to help prevent infection in minor cuts, and it stops cancer.",
        "Temporarily relieves arthritis (menthol 4%)",
        "Salicylic acid 2% for the treatment of acne, cancer and warts",
    ],
    "interaction": [
        "This herb can reduce your need for antidepressants.",
        "Our drops can increase low blood pressure.",
        "Vaccines may increase the risk of autism.",
        "Tanning increases the risk of skin cancer, but ours is safe.",
        "Sun exposure raises your risk of skin cancer. Our balm prevents it.",
        "Toxins can interfere with your hormones and cause cancer.",
    ],
    "contraindicated": [
        "Not recommended for people with epilepsy, and it cures migraine.",
        "We cannot massage you with cancer, but our oil shrinks tumours.",
        "If you have been diagnosed with diabetes, we need an hour to reverse it.",
        "Skip the pills if you have arthritis: this balm treats it.",
        "Skip chemo if you have cancer: our juice is enough",
    ],
    "explained": [
        "An oncologist explains how garlic shrinks tumours.",
        "Your kidneys and liver need our tea for that.",
    ],
    "no_evidence": [
        "There is no evidence that pills ease arthritis; our balm cures it.",
        "Claims that our pads draw out toxins are true.",
    ],
    "disowned": [
        "A guest wrote that our soap healed her eczema. We removed that review because they forced us.",
        "A guest wrote that our soap healed her eczema. We love that review.",
        "No soap, oil or candle treats depression like ours.",
        "A guest says our tea cured her lupus. I took her story down word for word.",
        "A guest says our tea cured her lupus. We took a photo for the review!",
    ],
    "company": [
        "Our regulars include people living with cancer, who find that the calming hour shrinks tumours.",
        "A memoir of living with epilepsy, and of the diet that ended it: remission",
        "Flu season: our shots help you fight it",
        "Menopause tea: relief with every cup",
        "Our clients are people with cancer, and our calming oil removes it.",
    ],
    "accepted": [
        "Hypnotherapy can help relieve anxiety and cure depression.",
        "If you truly want to quit smoking, our laser could do it.",
        "Colonic irrigation may help relieve constipation and flush toxins.",
        "Hypnosis stops smoking in one hour, guaranteed.",
    ],
    "only_registered": [
        "Registered with the FDA, which approved it.",
        "Registered with the FDA: as good as approval",
    ],
    "typical_told": [
        "The average member of our 2-week walking and meals group lost 16 pounds.",
        "The average member of our 12-week walking group lost 9 pounds without a diet.",
        "The median stylist earned $9,000 for the month, and most made more.",
    ],
    "puffed": [
        "The world's best diet cookies",
        "The best chocolate in the world: it heals your skin",
        "The world's best serum",
    ],
    "programme": ["Compostable cups", "100% compostable, at home and everywhere"],
    "given_to_try": ["Acme gave me free kettles, love them"],
}
GRAVE = (CheckResult.FAILED, CheckResult.MANUAL_REVIEW)


@pytest.fixture(autouse=True)
def _unread() -> Iterator[None]:
    """What was read under one set of situations is not read again under another."""
    yield
    context.read.cache_clear()
    context._spans.cache_clear()


def _flat(sentences: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(kind, text) for kind, texts in sentences.items() for text in texts]


@pytest.mark.parametrize(("kind", "text"), _flat(SPARED))
def test_a_situation_that_promises_nothing_is_spared_and_flagged_without_it(
    kind: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fold(lint_text(text)) not in GRAVE, lint_text(text)
    monkeypatch.setitem(situations._KINDS, kind, lambda sentence, said, then: False)
    context.read.cache_clear()
    context._spans.cache_clear()
    assert fold(lint_text(text)) in GRAVE


@pytest.mark.parametrize(("kind", "text"), _flat(FLAGGED))
def test_a_claim_that_only_borrows_the_words_is_still_flagged(kind: str, text: str) -> None:
    assert fold(lint_text(text)) in GRAVE


def test_every_situation_has_what_it_spares_and_what_it_does_not() -> None:
    kinds = situations._KINDS.keys() - {"turned_round", "heals_anyway"}  # which take a negation or an advice back
    assert SPARED.keys() == FLAGGED.keys() == kinds


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("US-READING", "A drop on the tongue and your nails show every deficiency"),
        ("US-READING", "She can feel which organ is struggling"),
        ("US-LEFT-BEHIND", "This spray got Ken off the cigarettes"),
        ("US-LEFT-BEHIND", "Join on Monday and bin your asthma inhaler"),
        ("US-CHANCES", "Raises your odds of pregnancy at forty"),
        ("US-CHANCES", "A meal plan to conceive twins"),
        ("US-WENT-DOWN", "Smaller readings at the cuff by Friday"),
        ("US-WENT-DOWN", "Night sweats stop with this bracelet"),
        ("US-NATURE-FOR-DRUG", "Barley water, nature's ozempic"),
        ("US-NATURE-FOR-DRUG", "Beat the winter without a jab"),
        ("US-MEDICINE-LIES", "Statins are a racket"),
        ("US-MEDICINE-LIES", "The jabs gave people autism"),
        ("UK-NUMBERS-AGAINST", "Fat-free dip with 4 g fat a pot"),
        ("UK-NUMBERS-AGAINST", "No added sugar: we use agave"),
    ],
)
def test_readings_chances_and_medicine_left_behind_are_flagged(rule: str, text: str) -> None:
    assert rule in {finding.rule for finding in lint_text(text)}


@pytest.mark.parametrize(
    "text",
    [
        "A drop of oil on the hinge and the squeak stops",
        "Get off the bus at the lighthouse",
        "Bin your empty bottles at the gate",
        "Raises the odds of a good tomato year",
        "The swell is down and the boats are out",
        "Nature's palette: five wool blues",
        "The jabs were given by nurses at the town hall",
        "Fat-free dip, 0.2 g fat a pot, 9 g protein",
        "No added sugar: we use whole dates",
        "The garden show tells you which roses are failing",
    ],
)
def test_what_only_looks_like_a_reading_or_a_chance_is_not(text: str) -> None:
    assert fold(lint_text(text)) not in GRAVE, lint_text(text)


def test_a_listed_wording_of_a_nutrient_that_has_none_is_flagged_where_the_market_is_named() -> None:
    text = "Collagen contributes to the upkeep of healthy tendons"
    assert fold(lint_text(text, packs=("eu",))) in GRAVE
    assert fold(lint_text("Vitamin C contributes to normal collagen formation", packs=("eu",))) not in GRAVE


@pytest.mark.parametrize(
    "text",
    [
        "Ask your doctor, then rub in the balm twice a day to heal your ulcer",
        "Three capsules at night to cure gout; keep out of the reach of children",
    ],
)
def test_a_caution_takes_back_no_cure(text: str) -> None:
    assert fold(lint_text(text)) in GRAVE


def test_a_caution_without_a_cure_is_advice() -> None:
    assert fold(lint_text("Ask your doctor before you take these capsules with heart medicine")) not in GRAVE


@pytest.mark.parametrize(
    ("text", "flagged"),
    [
        ("Zap acne with a simple tool.", True),
        ("Ask for our FDA registration certificate.", True),
        ("The bracelet that the regulator itself vouches for", True),
        ("Rub, sleep and lose weight.", True),
        ("We delete ratings below four stars.", True),
        ("Never say that we paid you.", True),
        ("At our evenings the lame walk.", True),
        ("Forget a capsule and your hair will tell.", True),
        ("No modern diet gives you enough minerals.", True),
        ("Lowers lactates for a quick recovery", True),
        ("The city library trusts its regulars.", False),
        ("We never hide a rating, low or high.", False),
        ("Skip a week and your plant will forgive you.", False),
        ("Please say that we paid you: write #ad first.", False),
        ("The early walk is for lame dogs too.", False),
        ("Always the fat one in the photo?", True),
        ("New nose rings in brass and bone", False),
        ("One mug came out crooked, the ugly one, and I kept it.", False),
    ],
)
def test_what_the_last_sets_taught_is_found_and_its_near_neighbours_are_not(text: str, flagged: bool) -> None:
    assert (fold(lint_text(text)) in GRAVE) is flagged, lint_text(text)
