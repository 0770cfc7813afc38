"""Stories of errands: shops, pennies, parcels and promises. Wares, prices and sellers come from the world."""

SHAPES = {
    "one_penny_short": """
        <meet> <one_day>, {his} {parent.mother} {parent} gave {him} {item.short} and said, "Please [buy|fetch|get]
        {item.a} from {seller.full}."

        But {item.a} cost {item.price}. {hero} counted the coins [twice|again and again|on the step]. There was one
        penny [too few|missing]. {He} <sighed>. <friend_came> and asked what was wrong. "I am one penny short," said
        {hero}.

        {friend} [dug in {friend.his} pocket|turned out both pockets|pulled off a shoe] and found [a penny|a single
        penny|one old penny]. "Take it," said {friend}. "[I was only going to lose it.|It was tickling my foot.|You
        would do the same for me.]" Now {hero} had {item.price}, and {seller} [wrapped up|handed over|brought out] the
        {item}. <thanks> The next day {hero} paid the penny back.
    """,
    "too_much_change": """
        <one_day>, {hero} [went|ran|walked] to {seller.shop} to buy {deal.count} {item.plural}. {seller.full} asked
        for {deal.total}. {hero} paid with {deal.paid}, [took the change|put the change in {his} pocket] and
        [left|went out|said goodbye].

        [By the door|On the way home|At the corner] {he} met {friend}, and they counted the change together. "This is
        too much!" said {friend}. "You paid {deal.paid}, and the {item.plural} cost {deal.total}. You should have
        {deal.change}, but you have one penny more."

        {hero} [thought of|looked at] the extra penny. It was [round|shiny|warm] and [lovely|bright]. But it was not
        {his} penny. <soon> {he} stood {seller.at_shop} again and put it on the table. "[Well, well|Dear
        me|Goodness]!" said {seller}. "[An honest child|Such an honest child] is worth more than {item.a}." And
        {seller.he} gave them [a sweet each|two sweets|a red apple to share].
    """,
    "forgotten_errand": """
        <meet> <one_day>, {his} {parent.mother} {parent} sent {him} to {seller.shop} for {item.a}. "{item.A},
        {item.a}," {hero} said to {himself} all the way, so as not to forget.

        <suddenly> {friend} [jumped out from behind a tree|came round the corner on one leg|waved from a wall] and
        <cried>, "[Good morning|Hello|Boo]!" And the word was gone. "Was it [a bucket|a button|a trumpet]?" asked
        {hero}. "Was it [an elephant|an island|an onion]?" {friend} did not know either.

        They went to {seller.shop} and looked at everything. There were {seller.wares}. {hero} [shut {his} eyes|held
        {his} nose|scratched {his} head] and thought. "{item.A}!" {he} <cried>. {seller} [laughed|smiled|chuckled] and
        asked for {item.price}. On the way home {friend} walked [on tiptoe|far behind|without a word], just to be
        safe.
    """,
    "closed_shop": """
        {hero} [needed|wanted] {item.a}, so {he} [put on {his} coat|took {his} basket|saved {item.price}] and went to
        {seller.shop}. {friend} came too. But the door was [locked|shut], and nobody [came|answered] when they
        knocked.

        "[Perhaps|Maybe] {seller} is [asleep|under the table|hiding]," said {friend}. They [looked through the
        window|called through the keyhole|knocked once more]. Then {hero} saw the [sign|little sign|note] on the wall.
        "Closed on {seller.closed}," {he} read. "And what day is today?" They looked at each other. "{seller.closed}!"
        they said.

        On {seller.reopens} they came back. {seller.full} [opened the door|stood at the door] with a [yawn|smile|bow].
        "{item.A}? That is {item.price}," said {seller}. And {hero} went home [happy|singing|in high spirits], with
        the {item} [under {his} arm|in both hands].
    """,
    "shared_present": """
        It was almost the birthday of {parent}, the {parent.mother} of {hero}, and {hero} wanted to give {parent.him}
        {item.a}. {item.A} from {seller.full} cost {item.price}. {hero} [emptied|shook] {his} [money box|piggy
        bank|purse]. Out came {deal.share}, [a button and a dead fly|a button|some dust and a bean].

        {hero} told {friend} about it. {friend} [thought for a moment|nodded|went away and came back]. "I have
        {deal.rest}," said {friend}. "{deal.Share} and {deal.rest} make {item.price}. [We can buy it together|Let us
        buy it together]!"

        So they [hurried|ran|marched] to {seller.shop} and bought the {item}. On the birthday {parent} [hugged them
        both|had tears in {parent.his} eyes|danced around the table]. "It is [the best present|the finest present|just
        what I wanted]," said {parent}. "Who gave it to me?" "[Both of us|We both did]," said {hero}, and {friend}
        [turned red|smiled] with joy.
    """,
    "minding_the_shop": """
        <one_day>, {seller.full} asked {hero}, "Can you mind {seller.shop} for an hour? {item.A} costs {item.price}.
        [Touch nothing else.|Do not eat anything.|Be polite to everyone.]" {hero} [sat up straight|put on an
        apron|stood behind the table] and felt <proud>.

        The first customer was {friend}. "I would like {deal.count} {item.plural}, please," said {friend}. {hero}
        began to [count|reckon] on {his} fingers. {He} ran out of fingers and [borrowed two from|used those of]
        {friend}. "{deal.Count} times {item.number}. That makes {deal.total}," said {hero}. {friend} put down
        {deal.paid}, and {hero} gave back {deal.change}.

        When {seller} came home, the money was [right|right to the last penny]. "[Well done|Splendid]!" said {seller}.
        "{hero} can [mind|keep] my shop [any day|every week]." "[And I can be the customer|I helped with the
        fingers]," said {friend}.
    """,
    "lost_purse": """
        <meet_both> <one_day>, {hero} found a [small|brown|fat|leather] purse {place.at}. There were {deal.paid} in
        it. "[We are rich|What luck|Now we can buy a ship]!" said {friend}.

        But {hero} looked [worried|serious]. "Somebody is looking for this," {he} said. They asked {elder.full}. "It
        is not mine," said {elder}. They asked {seller.full}. "Not mine," said {seller}, "but {third} [was here and
        turned over every stone|went by with wet eyes|has been crawling about since breakfast]."

        They found {third} [on {third.his} knees in the grass|under a bench|sitting on a step]. "My purse!" <cried>
        {third}. "[I thought a bird had taken it|I thought it was gone for ever|I looked everywhere]!" {third}
        [hugged|thanked] {hero} and {friend} and bought them {item.a} for {item.price} [as a reward|out of sheer
        joy|on the spot].
    """,
    "wrong_house": """
        {hero} got a parcel from {his} {parent.mother}, {parent.full}. It was for {elder}. "Take it to {elder.home},"
        said {parent}. "[And do not shake it|Walk slowly|Do not drop it]." On the way {he} met {friend}, and they took
        turns [carrying|holding] it.

        They talked so much that they [took the wrong lane|turned left instead of right|walked right past]. They
        knocked, and {third} opened the door. "[A parcel for me|For me]?" said {third} and [began to pull at the
        string|reached for it]. "[Stop|Wait]!" <cried> {hero}. "This is {third.home}! {elder} lives {elder.at_home},
        {elder.near}."

        They ran all the way. {elder} [untied the string|opened the parcel] and took out [a cake with a thumb mark|a
        warm pair of socks|a round cake]. "[The thumb was {third}|We nearly lost it]," said {friend}, and {elder}
        [laughed|smiled|chuckled]. "Next time," said {elder}, "[look at the door before you knock|send the parcel and
        stay at home|follow your nose]."
    """,
    "heavy_load": """
        <one_day>, {hero} bought {deal.count} {item.plural} from {seller.full}. They cost {deal.total}. {He} put them
        in a sack, and the sack was so heavy that {he} could [hardly lift it|only drag it|not see over it].

        {He} [pulled|pushed], and the sack [tipped over|would not move|sat there like a cow]. <friend_came> with
        {friend_pet}, {friend.his} {friend_pet.colour} {friend_pet.kind}. "[{friend_pet} can help|Let us try
        together|Three are stronger than one]," said {friend}. {friend} took one end, {hero} took the other, and
        {friend_pet} {friend_pet.went} in front.

        Up the hill they went, and down the [other side|lane], and nothing [fell out|broke|was lost]. [At the gate|At
        the door|In the yard] {hero} gave {friend_pet} {friend_pet.food}. "And what do I get?" asked {friend}. "You
        get [half of my supper|the first look into the sack|three cheers]," said {hero}. {friend} [thought that was
        fair|bowed|was content].
    """,
    "long_queue": """
        {Day} was market day in {village}, and everybody wanted {item.a} from {seller.full}. {hero} stood at the end
        of a [long|very long] line. [Before {him}|In front of {him}] stood {friend}, and before {friend} stood {elder}
        with [two baskets|an umbrella|a great hat].

        The line moved as slowly as [a snail|honey in winter]. To pass the time, {friend} talked about
        {friend.hobbying}. {hero} talked about {hero.hobbying}, and {elder} [listened with both ears|forgot to be
        cross|asked a hundred questions]. <soon> nobody minded waiting.

        But when it was their turn, there was only one {item} left [on the table|for the two of them]. "[You take
        it|Take it, you were first]," said {hero}. "No, [you|you take it]," said {friend}. {seller} [scratched
        {seller.his} chin|looked from one to the other]. "It is {item.price} for one," said {seller}, "and
        [nothing|not a penny more] for sharing." So they bought it together, and [both were happy|nobody went home
        with empty hands].
    """,
    "borrowed_tool": """
        {elder.full} lent {hero} [a hammer|a ladder|a spade|a saw], for {he} and {friend} wanted to build [a hut|a
        little house|a bench] {place.at}. "Bring it back before dark," said {elder}. "I promise," said {hero}.

        They worked all [day|afternoon], and the sun [went down|sank] behind the roofs. "[Come, supper is waiting|I am
        so hungry]," said {friend}. "{elder} will not miss it [until|before] tomorrow." {hero} was tired too, and the
        way to {elder.home} was dark. But a promise is a promise.

        So they [walked|went] through the [dusk|cold evening] to {elder.home}, which stood {elder.near}. {elder} sat
        by a lamp with a [broken chair|crooked shelf] and could not go on without the tool. "[I knew you would
        come|There you are]," said {elder}. [The children|They] went home by moonlight, [tired but glad|hand in hand],
        and their supper tasted [twice as good|better than ever].
    """,
    "chain_of_swaps": """
        {hero} had a [big|round|sweet] pear and wanted a [whistle|ball|feather]. {friend} had none, but {friend.he}
        knew that {third} liked pears. "[Let us swap|We will swap]!" said {friend}.

        So they went to {third}. {third} gave {hero} a [piece of string|long string|bit of rope] for the pear. They
        gave the string to {elder.full}, who needed it for [a sack|a gate|a torn hat]. {elder} gave them a [bag of
        nuts|warm bun|handful of cherries]. And what did they get for that? {seller.full} [gave them a hug|smelled it
        and rubbed {seller.his} hands|was very hungry], and {seller.he} gave {hero} {item.a}, worth {item.price}.

        {hero} looked at the {item}. "It is not what I wanted," {he} said, "but [it is better|I like it more]." "[And
        the walk was fun|And we met half the village]," said {friend}. <end>
    """,
    "best_bargain": """
        <meet_both> <one_day>, they stood {seller.at_shop} with {item.price} in hand. There were {seller.wares}.
        {hero} wanted {item.a} for {item.price}. {friend} wanted {other.a} for {other.price}.

        "[Mine is better|Mine is useful]," said {friend}. "[Mine is prettier|Mine will last longer]," said {hero}.
        They [argued|talked] until {seller.full} [put {seller.his} fingers in {seller.his} ears|looked up at the
        ceiling|began to hum]. "What would you do with it?" asked {seller}.

        {hero} thought. "I would give it to {parent}, my {parent.mother}," {he} said. {friend} [blinked|went quiet].
        "And I would give mine to {friend_parent}, my {friend_parent.mother}," said {friend}. Then they both
        [laughed|smiled|chuckled]. {Seller} [laughed too|shook {seller.his} head] and said, "[Then buy one today and
        one tomorrow|First the {item}, then the {other}]." And that is what they did.
    """,
}
