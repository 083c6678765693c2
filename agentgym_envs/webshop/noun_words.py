"""Words of general English that the noun rule leaves out. Lists of our own making."""

# Articles, pronouns, prepositions, conjunctions, auxiliaries, common adverbs and number words:
# never a noun of a title, however they are written.
_STOP_WORDS = """
a an the this that these those such same other another each every either neither both all any
some no none not nor only own very too so much many more most less least few several enough
i me my mine myself you your yours yourself yourselves he him his himself she her hers herself
it its itself we us our ours ourselves they them their theirs themselves
who whom whose which what whatever whoever whichever when whenever where wherever why how
anyone anything anywhere everyone everything everywhere someone something sometimes somewhere
nobody noone nothing nowhere others one two three four five six eight nine ten eleven twelve
fifteen twenty forty fifty sixty hundred first last next
of in on at by to for from with without within into onto off over under up down out through
across along among amongst around about above after again against before behind below beneath
beside besides between beyond during except inside near per since than then till until toward
towards throughout upon via
and or but if because as while although though unless whether whereas however therefore thus
am is are was were be been being do does did done doing have has had having can could may might
must shall should will would cannot ca
get give go keep let make made put see seem show take call say used using
here there now just also always already almost alone even ever never once often still together
rather quite really perhaps maybe well yet else otherwise mostly mainly indeed
back front side top bottom full empty whole various please part
"""

# Measures and counts, as they follow a number; they are no kind of thing.
_UNITS = """
mm cm m km in inch inches ft feet yd yard yards sq oz ounce ounces lb lbs pound pounds
g gr gram grams kg kilogram mg mcg ml l liter liters litre litres gal gallon gallons qt
pc pcs pack count ct
gb tb mb kb mah ah v w watt watts volt volts hz khz mhz ghz mbps hrs min mins
x
"""

# Adjectives that describe things on sale. Left out only where they are written small: a tagger
# takes a capitalised word in a title for a part of a name.
_ADJECTIVES = """
new old big large small little tiny mini huge giant great tall short long wide narrow slim thin
thick deep high low heavy light lightweight soft hard firm stiff strong tough durable sturdy
solid hollow flat round square oval curved straight flexible stretchy elastic stretch adjustable
detachable removable foldable folding portable reusable disposable washable rechargeable
refillable replaceable compatible universal wireless waterproof water-resistant resistant proof
breathable warm hot cold cool fresh dry wet clean clear transparent sheer bright dark pale matte
shiny glossy smooth rough fuzzy fluffy plush cozy comfortable comfy casual formal elegant
stylish fashionable trendy modern contemporary classic classical traditional vintage retro
rustic antique decorative ornamental cute pretty beautiful lovely sexy funny cool gorgeous nice
good better best fine perfect ideal premium professional deluxe luxury luxurious fancy simple
plain basic easy quick fast slow safe secure quiet silent loud smart digital electric electronic
electrical automatic manual magnetic mechanical optical portable professional natural organic
pure raw vegan fresh healthy delicious tasty sweet sour salty spicy bitter crunchy crispy creamy
rich free fat-free sugar-free gluten-free non low-fat weekly monthly annual
black white red blue green yellow pink purple brown gray grey beige golden silver
colorful multicolor multicolored assorted different multiple double single dual triple extra
loose tight fit fitted regular plus mid sleeveless long-sleeve short-sleeve hooded padded lined
wooden metallic leathery woolen woven knitted floral striped printed solid-color handmade
homemade custom personalized special unique limited original genuine authentic real fake faux
artificial synthetic human facial dental medical cosmetic oral nasal
indoor outdoor male female young adult mature pregnant active athletic heavy-duty stainless
ergonomic multifunctional multipurpose versatile practical useful convenient essential complete
available suitable ready open closed upper lower inner outer left right main rear
internal external powerful sensitive gentle mild intense invisible visible hidden
moisturizing nourishing hydrating anti-slip non-slip anti eco-friendly friendly
"""

STOP_WORDS = frozenset(_STOP_WORDS.split())
UNITS = frozenset(_UNITS.split())
ADJECTIVES = frozenset(_ADJECTIVES.split())
