"""Stories under the open sky: weather, water, woods, and things that are lost and found there."""

SHAPES = {
    "lost_treasure": """
        <meet> The thing {he} loved most was {hero.a_treasure}. <one_day>, the {hero.treasure} was gone. {hero} looked
        [under the bed|in every drawer|in both boots] and [behind the stove|in the bread bin|on the roof]. It was not
        there.

        "[When did you last have it|Where did you play yesterday]?" asked {friend}. {hero} [thought hard|shut {his}
        eyes and thought]. "{place.At}!" {he} said. They [ran|hurried] {place.to} and searched [every inch of the
        ground|among the leaves|in the tall grass].

        <suddenly> something [shone|moved|rustled] close by. It was a [crow|magpie|squirrel], and beside it lay the
        {hero.treasure}! {friend} clapped, and the thief [flew off|fled] in a [hurry|huff]. {hero} picked up the
        {hero.treasure} and [kissed it|wiped it clean|pressed it to {his} heart]. <thanks> <end>
    """,
    "kite_in_the_tree": """
        The wind was [strong|wild|just right], so {hero} and {friend} took a [red|blue|striped] kite {place.to}. It
        [climbed|rose|danced] higher and higher, until it was as small as a [stamp|leaf]. "[Look|See how it flies]!"
        <cried> {hero}.

        Then the wind [turned|dropped], and the kite fell into the top of a tree. {hero} [jumped|reached up], but the
        branch was too high. {friend} threw {a=a shoe/shoe|a stick/stick|a hat/hat} at it. Now the {a.2} was up there
        as well.

        <at_last> {elder.full} came by with a [long pole|ladder]. "[What grows on this tree?|Is that a new kind of
        fruit?]" asked {elder}. {elder} [poked|pulled], and down came the kite, [the {a.2} and a bird's nest from last
        year|the {a.2} and a great many leaves]. "[Next time|Tomorrow]," said {hero}, "we fly it where there are [no
        trees|only clouds]."
    """,
    "caught_by_rain": """
        {hero} and {friend} were playing {place.at} when the first drop fell. "[It is only a drop|One drop is not
        rain]," said {friend}. Then came [the second|another], and then [all the rest of them|more than they could
        count].

        They [crept|crawled] under {shelter=an upturned boat/boat|a hay cart/cart|a big bush/bush} and waited. Their
        [shoes|socks] were full of water. The rain [drummed|beat] on the {shelter.2}, and it grew cold. "Tell me
        something warm," said {hero}. So {friend} told of [the stove|the big bed|the kitchen] at home and of
        {friend.food}, which {friend} loved most of all. They [almost felt warm|could almost smell it].

        When the sky was [blue|clear] again, they stepped out into the [wettest|greenest|shiniest] world they had ever
        seen. "My {friend_parent.mother} will [scold me|be cross about the shoes]," said {friend}. But {friend_parent}
        only [fetched two towels|pointed at the bath] and put {friend.food} on the table.
    """,
    "lost_in_fog": """
        [One winter day|One grey morning|One afternoon], {hero} and {friend} were walking home, when the fog came up.
        It was as [thick|white] as [milk|wool], and they could not see [the road|their own feet]. "[Where are we|Which
        way now]?" {hero} whispered.

        "I am not afraid," said {friend}, and [took|held] {hero} by the sleeve. They walked [left|right] and met a
        [fence|hedge]. They walked back and met [the same fence|a cow|a scarecrow]. <then> they stood still and
        listened. Far away somebody was [singing|whistling|banging a pot].

        It was {sibling}, the {sibling.sib} of {hero}, who had been sent to look for them. They followed the sound,
        step by step, and there was {hero.home}. "[You sing terribly|What a dreadful noise]," said {hero}, and
        [hugged|squeezed] {sibling}. "[Never stop|Do it again tomorrow]."
    """,
    "broken_bridge": """
        <meet> To visit {friend}, who lived {friend.at_home}, {he} had to cross a [little|narrow] bridge. <one_day>,
        after a [storm|night of rain], the bridge was gone. {hero} stood on one side, and {friend} stood on the other.

        "[I will swim|I will jump]!" <cried> {hero}. "[Do not be silly|Do not]!" <cried> {friend}. "The water is too
        [deep|fast|cold]." They [looked around|thought]. On the bank lay a [long|strong] plank that the storm had
        [brought|washed up]. But it was too heavy for {hero} alone.

        Then {elder.full} [came down the path|came with a rope]. Together they pushed the plank across, and {friend}
        [held|caught] the other end. {hero} walked over with {his} arms [out like a bird|spread wide]. "[Welcome|Good
        morning]," said {friend}, as if nothing had happened. They called it [the Friends' Bridge|the Plank], and it
        stands to this day.
    """,
    "frog_in_the_boot": """
        <meet_both> <one_day>, they took off their boots and [waded in the mud|splashed about|dipped their toes in the
        water] {place.at}. When {hero} put {his} left boot on again, the boot said, "[Quark|Croak]!"

        {hero} [shrieked|jumped] and kicked it off. It flew [through the air|in a high curve] and landed [in a
        puddle|in a bush]. "[Your boot can talk|It is a magic boot]!" said {friend}. They crept up to it and
        [peeped|looked] in. Two [round|golden] eyes looked back at them.

        "[It is only a frog|A frog]," said {hero}, and {he} <smiled>. "It [must think that my boot is a house|likes it
        in there]." They waited [quietly|without a sound] until the frog [had finished its nap|was ready to leave]. It
        hopped out, gave one more croak, and was gone. {hero} was late for supper, but {his} {parent.mother} {parent}
        [believed every word|laughed and laughed].
    """,
    "lost_lamb": """
        <suddenly> {hero} and {friend} heard a thin cry {place.at}. It came from a [thorn bush|ditch|hole]. In it sat
        a lamb, [white|small] and [muddy|frightened], and it could not get out.

        "I will hold the branches, and you [lift|pull]," said {hero}. The thorns [pricked|scratched] {his} hands, but
        {he} [did not let go|held on]. {friend} talked softly to the lamb. One, two, three, and it was free! It [shook
        itself|sneezed] and [licked {friend} on the nose|stood on {friend}'s foot].

        "[Whose is it|Where do you belong]?" asked {friend}. Round its neck hung a [blue|little] ribbon with a name on
        it: {elder}. They carried it to {elder.home}, where {elder} was [standing in the yard, calling|looking under
        every bush]. "[My smallest one|My little runaway]!" said {elder}, and gave them [fresh milk|warm milk] and
        bread. The lamb had milk as well.
    """,
    "drifting_boat": """
        {hero} and {friend} sat in {elder.full}'s old boat and played [pirates|sailors|whales]. "[We sail to the end
        of the world|Set the sails]!" <cried> {hero}. They did not see that the [rope|knot] had come loose.

        When they looked up, the bank was far away. {friend} turned [pale|white]. "[There are no oars|We have no
        oars]," said {friend}. {hero} [looked|felt] under the bench and found [a frying pan|a broom|a soup ladle].
        "[Then we row with this|This will do]," {he} said. They rowed and rowed, and the boat went [round in
        circles|in a ring], and a duck [watched them|laughed].

        <at_last> they touched the [bank|reeds]. {elder} was waiting there, [arms folded|hands on hips]. "So, how was
        the end of the world?" asked {elder}. "[Wet|Very wet]," said {hero}. {elder} showed them how to tie a
        [good|real] knot, and they practised it until dark.
    """,
    "fallen_nest": """
        After the [storm|great wind], {hero} found a nest {place.at}. It lay in the grass, and in it sat three
        [naked|tiny|grey] chicks with wide open beaks. High up in the tree their mother [flew round and round|called
        and called].

        "[Do not touch them|Leave them there]," said {hero}. "[We put back the whole nest|We must lift the nest]."
        {friend} fetched {friend.his} [cap|basket], and they [set|laid] the nest in it. Then {hero} climbed up, one
        branch after another, and {friend} [held {his} coat below|told {him} where to put {his} feet].

        {He} set the nest in a [fork|safe corner] of the tree and came down [slowly|much faster than {he} had wanted].
        They hid [behind a wall|in the grass] and waited. <soon> the mother flew to the nest with a [fat worm|worm].
        "[She is home|All is well]," whispered {friend}. <end>
    """,
    "berry_day": """
        The [blackberries|blueberries|raspberries] were ripe. {hero} and {friend} took a [pail|big pail] each and went
        {place.to}. "[Whoever picks more, wins|Let us see who is faster]," said {friend}. {hero} put one berry in the
        pail and [two|three] in {his} mouth. So it went all [morning|afternoon].

        When they met again, the pail of {friend} was full. In {hero}'s there were [six|seven|four] berries and a
        [beetle|snail]. "[Were there none on your side|What happened]?" asked {friend}. {hero} wanted to say yes, but
        {his} [chin|mouth] was quite [blue|purple].

        {friend} laughed so much that {friend.he} [had to sit down|dropped the pail], and {hero} laughed too. Then
        they filled both pails, and {hero} sang all the while, for who sings cannot eat. {His} {parent.mother}
        {parent} made [jam|a pie] of them, and {hero}, who had [a stomach ache|had enough], gave {his} share to
        {friend}.
    """,
    "stepping_stones": """
        There were seven stones in the [stream|brook], and all the children of {village} hopped across. Only {hero}
        stayed on the bank. The stones looked [wet|green|slippery], and the water [gurgled|hissed] between them.

        "[Look at the next stone, not at the water|Think of one stone at a time]," said {friend}. {hero} [breathed
        in|nodded]. One stone. Two stones. On the third {he} [wobbled|swayed] and [waved {his} arms|shut {his} eyes].
        "[I have you|Here is my hand]!" <cried> {friend}, and there was a hand to hold.

        Four, five, six, seven. And then {hero} stood on the other side and could [hardly|not] believe it.
        "[Again|Once more]!" {he} <cried>. {He} went back and forth [ten|twelve|twenty] times. The only one who fell
        in that day was {friend}, and {hero} [pulled|fished] {friend.him} out.
    """,
    "first_snow": """
        When {hero} woke up, the [world|village] was [white|quiet and white]. "Snow!" {he} <cried>, and ran out
        without [a cap|breakfast]. {friend} was already there, [rolling a ball|up to {friend.his} knees in it]. They
        made a snowman with [a carrot for a nose|a pot for a hat] and [nuts|stones] for eyes.

        The next morning the [nose|scarf] of the snowman was gone. "[Who steals from a snowman?|A thief!]" said
        {hero}. They looked for [tracks|footprints]. The tracks led [round the house|across the yard] and straight to
        {pet}, {pet.owned}, who was [sound asleep|looking very innocent].

        "[Was it you|Did you do that]?" asked {hero}. {pet} [opened one eye|turned away] and {pet.sound}. {friend}
        laughed. So they [put up a new one|gave the snowman a new one] and hung up a [sign|board] that said: "[Keep
        off|No tasting]." But {pet} could not read.
    """,
    "star_night": """
        <meet_both> One clear night they were allowed to stay up and count the stars {place.at}. They [spread|took] a
        blanket and lay down on it. "[One, two, three|Ten, eleven, twelve]," {hero} counted. {friend} began at the
        other end of the sky.

        <soon> they mixed up their numbers. "[You counted mine|That one was mine]!" said {friend}. "[Stars belong to
        nobody|They are all alike]," said {hero}. For a while they did not speak, and it grew [cold|very still].

        <then> a star fell, [bright and long|right across the sky]. "[Oh!|Did you see that?]" they both said at the
        same time. {friend} gave {hero} half of the blanket. "[Now there is one less|Now we must begin again]," said
        {hero}. They counted [slowly|softly], together this time, and fell asleep at [nineteen|twenty].
    """,
    "scarecrow": """
        The birds ate all the [peas|cherries|seeds] of {elder.full}. "[I need a scarecrow|Somebody must scare them],"
        said {elder}. {hero} and {friend} were glad to help. They took [two sticks|a broom], an old coat of {hero}'s
        {parent.mother} {parent} and a [pumpkin|sack of straw] for the head.

        It was a [fine|handsome] scarecrow with a [friendly|wide] smile. That was the trouble. The birds [liked
        it|were not afraid]. In the morning a [crow|sparrow] sat on each arm, and one had built a nest in the
        [left|right] pocket. "[It is too kind|You made it too nice]," said {elder}.

        {hero} thought for a while. Then {he} hung [spoons|old keys|tin lids] on the arms. The wind came, and they
        [rang|rattled], and all the birds flew off. But the nest in the pocket stayed. "[One family may remain|Let
        them stay]," said {elder}, and {friend} [patted|shook hands with] the scarecrow.
    """,
}
