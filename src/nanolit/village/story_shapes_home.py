"""Stories of kitchens, beds and barns: families and their animals."""

# The animal of these must fit into a basket or a bed.
SMALL_PET = frozenset({"pet_in_the_basket", "warm_bed", "school_visitor"})

SHAPES = {
    "hidden_pet": """
        <meet_pet> <one_day>, {pet} was gone. {hero} called, "{pet}! {pet}!" No {pet.kind} came. {He} held out
        {pet.food} and waited. Nothing [moved|stirred].

        {friend} came to help. They looked [in every cupboard|in the cellar|under the stairs], {place.at} and even
        {friend.at_home}. "Where would I go if I were {pet.a}?" said {friend}. {hero} [stopped|stood still].
        "{pet.Bed}," {he} said slowly. "That is where {pet} sleeps. We have not looked there!"

        They ran home on tiptoe. And there, {pet.bed}, lay {pet}, [snoring|fast asleep|as round as a ball]. "[All that
        running|We looked everywhere], and you were in bed!" said {hero}. {pet} woke up, {pet.sound} once, and
        [ate|wanted] {pet.food}.
    """,
    "school_visitor": """
        <meet_pet> <one_day> {hero} went to school, and {pet} {pet.went} after {him} without a sound. Nobody noticed
        until the [sums|reading] lesson, when somebody at the back {pet.sound}.

        "Who was that?" asked the teacher. {hero} turned [red|as red as a beet]. "It was me," said {friend} quickly,
        and {friend.he} {pet.sound} too. The class laughed. Then {pet} {pet.went} [over the floor|between the desks]
        and sat down right in front of the [board|teacher].

        The teacher looked at {pet}, and {pet} looked at the teacher. "Can {pet.he} [count to three|spell|sit still]?"
        asked the teacher. "[Better than {friend}|Not yet]," said {hero}. So {pet} was allowed to stay, just for that
        day, and got [a gold star|a chair] of {pet.his} own.
    """,
    "picky_pet": """
        <meet_pet> <one_day> {pet} would not eat. {hero} brought {pet.food}. {pet} turned away. {hero} brought [warm
        milk|{hero.food}|a boiled egg]. {pet} [only sighed|did not even look]. "[Are you ill|What is the matter]?"
        asked {hero}, and {his} heart was heavy.

        {friend} came with {friend_pet}, {friend.his} {friend_pet.colour} {friend_pet.kind}. {friend_pet}
        [sniffed|peered] at the full bowl and took one small bite. At once {pet} [jumped up|raised {pet.his} head].
        {pet.He} {pet.went} to the bowl and ate and ate until [it shone|nothing was left].

        "[{pet} was not ill|Now I see]," said {friend}. "{pet} was lonely. Nobody likes to eat alone." "[Then you must
        come every day|Then come again tomorrow]," said {hero}. {friend} thought about it. "[What is there for me|Is
        there food for me too]?" "{hero.Food}," said {hero}, and so it was settled.
    """,
    "sock_thief": """
        Every [morning|day] a sock was missing {hero.at_home}. First a [red|green] one, then a [grey|striped] one,
        then the [best|warmest] one of {parent}, the {parent.mother} of {hero}. "[Socks do not walk|There is a thief
        in this house]," said {parent}. {hero} and {friend} [promised|decided] to catch the thief.

        They put a [blue|yellow] sock on the floor and hid [behind the door|under the table]. They waited [an hour|a
        long time], and {friend} [almost fell asleep|had to hold in a sneeze]. <suddenly> in came {pet}, {pet.owned}.
        {pet} took the sock and {pet.went} away with it.

        They followed {pet} [softly|on bare feet]. There, {pet.bed}, lay all the socks of the house, in a [neat|soft]
        heap, and {pet} lay down on top. "[{pet} only wanted a warm bed|{pet} was cold]," said {hero}. {parent}
        [laughed|had to laugh] and gave {pet} an old blanket. But {pet} kept one sock, [just in case|for luck].
    """,
    "burnt_supper": """
        {parent}, the {parent.mother} of {hero}, had gone out, and {hero} wanted to [surprise {parent.him}|cook all
        alone]. "I will make {hero.food}," {he} said to {friend}. "[It cannot be hard|I have seen it done]." {friend}
        [read out|remembered] what to do, and {hero} [stirred|poured].

        Then they talked about {hero.hobbying}, just for a moment, and forgot the stove. <soon> there was a
        [smell|black smell]. There was smoke. "[The pot|Our supper]!" <cried> {friend}. What was in it was as
        [black|hard] as [coal|a boot].

        When {parent} came in, {hero} [looked at the floor|hid behind {friend}]. "I wanted to cook for you," {he}
        said. {parent} [looked into|sniffed at] the pot for a long time. "[It is an unusual dish|I have seen worse],"
        {parent.he} said, and rolled up {parent.his} sleeves. "[Come|Fetch a clean pot]. This time we do it together."
        An hour later they all ate {hero.food}, and it was [perfect|nearly perfect].
    """,
    "night_noise": """
        It was the middle of the night {hero.at_home}. [Tap, tap, tap|Bump, bump, bump|Scratch, scratch, scratch]!
        {hero} sat up in bed. {friend}, who was staying for the night, sat up too. "[What was that|Did you hear it]?"
        whispered {friend}. "[A ghost|A robber]," {hero} whispered back.

        They lit a [candle|lamp]. {hero} took [a pillow|a slipper], {friend} took [a spoon|the other slipper], and so
        they went down the [dark|creaking] stairs. The noise came from the kitchen. {hero} [counted to three|held
        {his} breath] and threw open the door.

        There stood {sibling}, {his} {sibling.sib}, with [crumbs|jam] all over {sibling.his} face. "I was hungry,"
        said {sibling}. "[The jar would not open|The lid was stuck]." The three of them [looked at each other|began to
        giggle]. {hero} fetched [three plates|three spoons], and nobody ever told {parent} the {parent.trade}, their
        {parent.mother}, who [wondered|only wondered] about the empty jar.
    """,
    "muddy_floor": """
        {parent}, the {parent.mother} of {hero}, had [washed|scrubbed] the floor until it shone. "[Nobody walks on it
        with shoes|Keep it clean]," {parent.he} said, and went to {parent.shop}. Ten minutes later in {pet.went}
        {pet}, {pet.owned}, and {pet} was [full of mud|muddy all over].

        "[Oh no|Stop]!" <cried> {hero}. But {pet} {pet.went} [round the table|once around the room], and there were
        [black|brown] tracks everywhere. {hero} <sighed>. <friend_came> and [took off {friend.his} shoes|looked in at
        the window]. "[Have you got two brushes?|You need help.]" said {friend}.

        {hero} scrubbed from the left and {friend} from the right, until they [bumped heads|met] in the middle. Then
        they [tied brushes to their feet|slid on wet rags] and danced on the floor till it was dry. When {parent} came
        home, everything shone. "[How clean it still is|You were careful]," said {parent}. {hero} and {friend} looked
        at {pet}, and {pet} looked [at the ceiling|out of the window].
    """,
    "window_bed": """
        {hero} and {his} {sibling.sib} {sibling} shared a room {hero.at_home}. Both wanted the bed by the window. "[I
        am always by the door|It is my turn]," said {hero}. "[I had it first|You snore]," said {sibling}. They
        [shouted|quarrelled] until {parent}, their {parent.mother}, [banged on the wall|sent them both outside].

        {hero} told {friend} [all about it|what had happened]. {friend} said, "{friend_sibling} and I have a rule. One
        of us [cuts|breaks] the cake, and the other one chooses." "But you cannot cut a [window|bed]," said {hero}.
        Then {he} had an idea, and ran home.

        "[Let us push both beds to the window|Help me push]," {he} said to {sibling}. They pushed and [pulled|puffed].
        The beds stood side by side, and the moon shone on both. "[Why did we not do that before?" asked {sibling}.
        "Because we were busy shouting|Now I can hear you snore from close by," said {sibling}. "Then count the
        snores|At last," said {sibling}. "Good night]," said {hero}.
    """,
    "broken_cup": """
        <one_day>, {hero} and {friend} played ball {hero.at_home}, which was not allowed. The ball [bounced|flew] off
        the [wall|table] and hit the [blue|best|oldest] cup of {parent}, {hero}'s {parent.mother}. [Crash|Clink]! It
        lay in [three|four] pieces.

        "[Let us hide it|We could say it was the wind]," said {friend}. "[Or we could say it was {pet}|Or {pet} did
        it]." {pet}, {pet.owned}, looked up and {pet.sound}. {hero} looked at {pet} and [felt bad|was ashamed]. "No,"
        {he} said. "{pet} would never [blame me|tell on me]."

        So they went to {parent} and told the truth. {parent} was quiet for a [moment|while]. "[I liked that cup|That
        cup was old]," {parent.he} said, "but I like [the truth|an honest child] better." In the evening they
        [glued|stuck] it together, piece by piece. It held no [tea|water] any more, but it was just right for
        [flowers|pencils].
    """,
    "soup_for_the_sick": """
        {parent}, the {parent.mother} of {hero}, lay in bed with a [red|hot] nose and a [cough|cold]. ["I must go to
        {parent.shop},"|"Who will do my work?"] {parent.he} said [weakly|with a groan]. "[You stay in bed|Lie down],"
        said {hero}, who could be very strict.

        {hero} and {friend} went to {seller.full} and bought {item.a} for {item.price}, to [cheer {parent.him} up|make
        {parent.him} smile]. Then they made soup of everything that was in the [kitchen|garden]. {friend} [tasted
        it|took a spoonful]. "It needs [salt|an onion|more of everything]," said {friend}.

        {parent} ate [two bowls|the whole bowl] without a word and looked at the {item}. "[That was the strangest soup
        of my life|Never ask me what was in it]," {parent.he} said, "but I feel [better already|much better]." The
        next morning {parent} was well. But {hero} had a [red nose|cold] now, and {friend} brought the rest of the
        soup.
    """,
    "tall_tale": """
        "[Yesterday|Last night] I saw a [bear|giant|dragon]," said {hero}. {He} had seen no such thing. "How big was
        it?" asked {friend}. "As big as {hero.home}," said {hero}. {friend} told {third}, and {third} told
        {elder.full}, and [by noon|by evening] all {village} [was talking of it|had locked its doors].

        In the evening {elder} [came running|knocked]. "[It is {place.at}|I heard it {place.at}]!" said {elder}.
        {hero} felt [sick|cold]. {He} knew that there was nothing, and yet {he} heard it too: something {place.at}
        went [snap|crunch] in the dark.

        They all [crept|went] there with lamps. And what was it? {friend_pet}, {friend_pet.owned}, [eating|looking
        for] {friend_pet.food}. Everybody laughed, but {hero} did not. "I made it all up," {he} said. "[I am
        sorry|Please forgive me]." "[It was a good story|You tell it well]," said {elder}. "Next time, begin with:
        once upon a time."
    """,
    "pet_in_the_basket": """
        <one_day>, {hero} packed a basket to visit {friend} {friend.at_home}. {He} put in bread, [apples|cheese] and a
        [clean|folded] cloth. Then {he} went to look for {his} [cap|shoes]. When {he} came back, the basket was
        [heavier|much heavier] than before.

        {hero} carried it [past the pond|over the hill|down the lane] and [puffed|groaned] and changed hands at every
        tree. "[Bread is heavy today|How heavy apples are]," {he} said. {friend} opened the door and lifted the cloth.
        Out looked {pet}, {pet.owned}, with [crumbs|bread] on {pet.his} nose.

        There was no bread left, and only [half an apple|a bit of cheese]. "[Good day|Welcome], {pet}," said {friend}.
        {Friend.His} {friend_parent.mother} [laughed|shook with laughter] and set the table for three. They ate
        {friend.food}, and {pet} [slept|snored] through it all [on the mat|under the bench].
    """,
    "warm_bed": """
        <meet_pet> {pet} slept {pet.bed}, and {hero} slept in {his} bed, and so it had always been. But one
        [icy|freezing] night {hero} woke up. Something [soft|cold] was lying on {his} feet. "[{pet}|Go to your own
        place]," {he} murmured. Nobody moved.

        The next day {hero} was tired and [yawned|fell asleep] over {his} [sums|soup]. "[Take {pet} back in the
        evening|You must be strict]," said {friend}. So {hero} carried {pet} back {times=three|four} times. And
        {times} times {pet} {pet.went} up the stairs again.

        Then {friend} brought a [hot stone|warm brick] wrapped in a [cloth|towel]. They laid it where {pet} slept,
        {pet.bed}. {pet} [tried it|lay down], {pet.sound} softly and stayed. {hero} had {his} bed to {himself} at
        last. But {his} feet were cold, and at midnight {he} [went and fetched {pet}|called {pet} up again].
    """,
}
