"""Words to be spelt: common ones of many kinds, few of which occur in the stories, so that a tokenizer of the village
has no token for most of them and their letters must be known from their pieces.
"""

_TEXT = """
acorn actor adopt agent album alert alley amber angle ankle apron arena armor arrow aspen atlas attic badge bagel
baker balcony balloon bamboo banana bandit banner barber barge barley basin basket beacon beaver begin belong berry
beyond bicycle birch bishop blanket blaze blend blink block blossom blush board bonnet border bottle boulder bounce
bracket branch brave bread breeze brick bridge bright bring brisk bronze brook brother bubble bucket buckle bugle
bumble bundle burden butler butter button cabin cable camel camera candle canoe canvas canyon carbon cargo carpet
carrot carve castle cattle cavern cedar cellar cement center cereal chalk chamber chance change chapel charm chart
cheek cheese cherry chest chicken chief chimney chisel choir chorus cider cinder circle circus citrus civil claim
clamp clash class clean clear clerk clever cliff climb cloak clock cloth cloud clover cluster coach coast cobalt
coffee collar colony column combine comet comfort common compass copper coral corner cotton couch county cousin
cover cradle crane crash cream create creek cricket crisp crop crown cruise crumble crystal cuckoo curious current
curtain cushion custard cycle dagger dainty daisy dancer danger daring dawn dazzle debate decade decide degree
delight dentist depend desert design detail diamond digest dinner direct distant divide dolphin domino donate dragon
drama dream dress drift drink drive drum dusty eager eagle early earth easel echo eclipse edge effort elbow elder
elegant element elephant eleven ember empire empty energy engine enjoy enough entry equal errand escape estate
evening event exact example expert explore extra fable fabric factor falcon family famous farmer fasten father
feather fellow fence ferry fiddle field figure filter finger finish fisher flame flavor fleet flicker flight float
flock flour flower flute forest forget fossil fountain fragile frame freckle freeze fresh frost frozen fruit funnel
furnace future gadget galaxy gallop garden garlic garment gather gentle ghost giant ginger glacier glass gleam glide
glimmer globe glory glove goblet golden gossip grain grand grape gravel great green grocer ground group grumble
guard guess guest guide guitar hammer hammock handle harbor harvest hazel health heart heaven hedge helmet herald
hermit hiccup hidden hinge history hollow honest honey horizon hotel hover humble hunger hurry hustle igloo imagine
improve indeed infant inform insect inspect instant invent invite island ivory jacket jaguar jasmine jelly jewel
jingle jockey journey juggle juice jumble jungle junior kernel kettle kingdom kitchen kitten knight knock known
ladder lagoon lantern large latch laugh laundry lawyer leader leather lecture legend lemon lentil leopard letter
lever library light lilac limit linen liquid listen little lizard lobster locker locket lofty lonely lotus loyal
lucky lumber lunar lunch machine magnet maiden mallet mango manner mantle maple marble march margin marine market
marsh marvel master matter meadow measure medal mellow melody memory mercy merit message metal meteor method middle
midnight mighty minnow minute mirror misty mitten model modern moment monarch monkey monster morning mother motion
motor mountain muffin murmur muscle museum music mustard mystery napkin narrow nation native nature navy nearby
needle nephew nettle nickel night nimble noble noise north notice novel number nurse oasis object oboe ocean october
offer office olive onion opera orange orbit orchid order organ orphan osprey ostrich other otter outfit oven owner
oyster paddle palace panda panel panther paper parade parcel pardon parrot partner pasture patch patient pattern
peanut pebble pelican pencil penguin pepper perfect perhaps person petal phrase piano picnic picture pigeon pillar
pillow pilot pirate pistol pitcher planet plank plant plate plaza pleasant plenty plumber pocket poem poetry point
polar polish pollen pony poplar popular portrait potato powder practice prairie present pretzel pride prince print
prison prize problem promise proper proud public pudding pulley pumpkin puppet puppy purple purse puzzle python
quarter queen quick quiet quill quilt rabbit raccoon radio radish rafter railway rainbow raisin ramble ranch random
ransom rapid raven ravine reason recipe record reef regard region relax remain remote repair reply rescue resin
result return reward rhyme rhythm ribbon riddle ridge ripple river robin rocket roller rooster rotate rough round
route royal rubber rumble runner rustic saddle safari sailor salad salmon sample sandal satin sauce savage scarf
scatter scene school science scout scrap screen scroll season second secret select senior sentence serpent servant
settle seven shadow shake shape share shark sharp sheep shell shelter sheriff shield shine shiver shore short shovel
shrimp shrine signal silence silk silver simple singer single sister skate sketch skill skirt slate sleep sleeve
slender slice slide slipper slope smart smile smoke smooth snack snail snake sneeze snorkel snow soap soccer social
socket soldier solid song sorrow sound soup south space spade spark sparrow speak spear special speech spell spice
spider spike spinach spirit splash splendid sponge spoon sport spring sprout squad square squash squeak stable
stadium stair stamp stand starch station statue steam steel stem step stern stick sting stitch stock stomach stone
storage stork storm story stove strand strange straw stream street stretch string stripe strong student studio study
sturdy style submit suburb subway sudden sugar summer summit sunny sunset supper supply surface surprise swallow
swamp swan sweater sweet swift swim swing sword symbol system table tablet tackle tailor talent tango target tarnish
teacher temper temple tender tennis tent test theater theme thick thimble thing thirst thorn thread thrill throne
thunder ticket tiger timber tiny toast today toddler token tomato tongue tonight topic torch tornado total touch
tough tower trace track tractor trade traffic trail train travel treat tremble triangle tribe trick trim triumph
trophy trouble truck true trumpet trunk trust truth tulip tumble tunnel turkey turtle tutor tweed twelve twice twig
twin twist umbrella uncle under unicorn uniform union unique unite until upper urban urgent useful usual valley
value vanilla vapor vase velvet vendor venture verse vessel victory video view village vine violet violin virtue
visit visor vital vivid voice volcano volume voyage waffle wagon waist walnut wander warm warrior wash watch water
wave wealth weather weave wedge weekend weigh welcome west whale wheat wheel whisper whistle white widow width
willow wind window wing winner winter wisdom wish wizard wolf wonder wood wool word world worry worth wreath wrinkle
write yacht yard year yeast yellow yield yogurt young zebra zenith zigzag zipper
"""
WORDS: tuple[str, ...] = tuple(_TEXT.split())
