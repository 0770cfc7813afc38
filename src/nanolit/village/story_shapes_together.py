"""Stories of the whole village: feasts, contests, school, and what friends are for."""

SHAPES = {
    "forgotten_lines": """
        The children of {village} put on a play about a [king|queen] who could not laugh. {hero} was to say only one
        line: "[The soup is ready, Majesty|Majesty, a goose is at the gate]!" {He} said it [in the bath|in bed|to
        {pet}] and on the way to school, a hundred times.

        Then the evening came. There sat [half|all] the village, with {his} {parent.mother} {parent} in the first row.
        {hero} stepped out, and {his} head was as empty as a [drum|bucket]. It was [very|terribly] still. {friend},
        who played the [cook|guard], whispered the line. {hero} heard nothing but {his} own heart.

        So {hero} bowed and said, "[I have forgotten my line, Majesty|Majesty, there was something, but it is gone]."
        The [king|ruler] on the stage [burst out laughing|had to laugh], and then everyone laughed and clapped. "That
        was the best line of the evening," said {friend}, and {hero} <smiled>.
    """,
    "pie_contest": """
        On {day} there was a pie contest [on the village green|in {village}]. {hero} and {friend} baked a
        [cherry|pear|nut] pie together. {hero} put in [two spoons|a cup] of sugar. Then {friend}, who had not seen it,
        put in [just as much|the same again]. But it was not sugar. It was salt.

        {elder.full} was the judge. {elder} [took a big bite|cut off a large piece]. {elder.His} eyes grew
        [round|wide], and {elder.he} drank [a whole jug of water|three cups of water]. "[That|This pie]," said
        {elder}, "is something [quite new|very special]." {hero} and {friend} tasted it, and [ran for the water|drank
        as well].

        The first prize went to {third}. But there was a prize for the [strongest|most surprising] pie as well,
        {item.a} from {seller.full}, and it went to {hero} and {friend}. "[Shall we bake again next year?" asked|Next
        year we taste it first," said] {friend}. "[Yes|Of course]," said {hero}, "and you keep away from the
        [jars|sugar]."
    """,
    "silent_bell": """
        The bell of {village} [rang|had rung] every morning. [But one day|But on {day}] it [did not ring|stayed
        silent]. The whole village [overslept|slept on]. {seller.Shop} stayed shut, and {elder.full} [ate breakfast at
        noon|went to market in a nightshirt]. "[Somebody must climb up|We must see what is wrong]," said {hero}.

        {hero} and {friend} climbed the tower. There were [ninety|fifty] steps, and every one of them creaked. {hero}
        was almost as afraid of heights as of {hero.fear}, but {he} held {friend}'s hand and [did not stop|went on].
        At the top sat [an owl|a pigeon] in the bell, with [three|four] eggs.

        "[We cannot chase her away|Let her stay]," whispered {friend}. So, for three weeks, {hero} and {friend} ran
        through the lanes every morning and [banged on pots|beat two pans together]. Then the chicks flew out, and the
        bell rang again. "[What a pity|At last I can sleep]," said {friend}. "[I liked the pots better|I will miss the
        pots]," said {elder}.
    """,
    "singing_contest": """
        {hero} wanted to sing at the harvest feast, but {he} sang only where nobody could hear {him}: {place.at}, all
        alone. So {he} thought. But {friend} had heard it [from behind a hedge|from up in a tree] and had [put down
        {hero}'s name|told everyone]. "[How could you|I will never do it]!" <cried> {hero}.

        On {day} {hero} stood [on the stage|on a barrel], and {his} knees [shook|were soft]. {He} opened {his} mouth,
        and out came a [squeak|croak]. Then somebody in the crowd began to hum the tune. It was {friend}. Then {his}
        {parent.mother} {parent} hummed, then {his} {sibling.sib} {sibling}, and then the [whole village|back row].

        And now {hero} sang, [softly at first|first low], and then so loud and clear that even {pet}, {pet.owned},
        [sat still|listened]. When it was over, nobody [spoke|moved] for a moment. Then {village} [clapped|cheered]
        till the [lamps|windows] shook. "[Are you still angry|Was I wrong]?" asked {friend}. "[A little|Only till
        tomorrow]," said {hero}, and <smiled>.
    """,
    "painted_fence": """
        {elder.full} wanted a [green|white] fence. "[I will pay you well|There is {item.a} in it for you]," {elder}
        said to {hero} and {friend}. They began at [eight|nine] o'clock, {hero} on the left and {friend} on the right.

        "[Mine is smoother|I am faster]," said {friend}. "[Mine is brighter|I paint better]," said {hero}. They
        painted faster and faster and looked only at each other. So nobody saw that {pet}, {pet.owned}, lay [in the
        sun|asleep] right in front of the fence. <soon> {pet} was [half|all] [painted|covered with paint].

        {elder} came out to look. The fence was [splendid|perfect]. Then a [striped|shining] {pet.kind} {pet.went} by.
        "[I do not remember asking for that|That was not in the plan]," said {elder}. It took {hero} and {friend} [an
        hour|two hours] and a tub of warm water to get {pet} clean, and {pet} [splashed|{pet.sound}] all the while.
        {elder} gave {pet} {pet.food} for [patience|the trouble].
    """,
    "stray_letter": """
        The wind blew a letter over the fence, right [to|at] the feet of {hero}. The rain had [washed off|eaten] half
        of the name. "It says: to the one who lives [near|close to] ... and then it stops," said {friend}. "Somebody
        is waiting for it."

        They asked {elder}, who lived {elder.at_home}. "[Not for me|Nobody writes to me]," said {elder}. They asked
        {seller.full}. "[Not for me|I only get bills]," said {seller}. They asked {third}, but {third} was [only
        hoping for a parcel|much too busy]. "[One person we have not asked|There is one more]," said {hero}, and
        looked at {friend}.

        {friend} [turned the letter over|held it up to the light]. On the back stood, quite small: "For {friend}, with
        love." It was from [an aunt|a cousin] by the sea. {friend} had carried it [about|through the village] all day.
        "[It was a good walk|We are clever]," said {hero}. "[Read it out|Now open it]!"
    """,
    "duck_race": """
        Every [spring|summer] the children of {village} raced little wooden ducks {race=down the stream/stream|down
        the river/river}. {hero} had painted [a crown|a smile] on {his} duck, and {friend} had given {friend.his} duck
        a [feather|paper hat]. "[Ready|On your marks]! Go!" <cried> {elder.full}.

        {hero}'s duck was ahead. Then it got stuck [behind a stone|in the reeds]. {friend}'s duck swam past, and the
        [end|finish] was near. But {friend} saw {hero}'s face. {friend.He} took a stick, leaned far out to free the
        stuck duck, and [splash|plop]! {friend.He} was in the {race.2}.

        The wave pushed both ducks forward, and they [crossed the line|came in] side by side. "[Two winners|Nobody
        lost]!" <cried> {elder}. "And one wet one," said {hero}, and [wrapped|put] {his} own coat around {friend}. The
        prize was {item.a}. They [tossed a coin for it|took turns with it], and {friend} had it first.
    """,
    "harvest_supper": """
        At the harvest supper there was one long table for all of {village}. Everyone brought something. {hero}
        brought {hero.food}, and {friend} brought {friend.food}. {seller.full} brought {deal.count} {item.plural}, and
        {elder.full} brought a [fiddle|very long speech].

        But where was {third}? {third.His} chair was [empty|still empty]. "[Perhaps {third} is ill|Nobody should miss
        this]," said {hero}. {He} and {friend} took a lamp and went to {third.home}. There sat {third}, [all dressed
        up|in {third.his} best coat], and [looked sad|did not come out]. "[I have nothing to bring|My cake fell on the
        floor]," said {third}.

        "[Can you carry a lamp?" asked|Then bring the light," said] {hero}. So {third} walked in front with the lamp,
        and all the [people|guests] stood up and [cheered|waved], because it had got so dark that nobody could [see
        the food|find the spoons]. <end>
    """,
    "stopped_clock": """
        The big clock of {village} stood still at [ten past four|half past two|a quarter to nine]. "[It is dead|It is
        too old]," people said. {hero} did not think so. {He} liked {hero.hobbying}, but {he} liked wheels [even
        more|as well]. "[Let us look inside|We only want to look]," {he} said to {friend}.

        They opened the little door at the back. There were [big wheels and small wheels|wheels upon wheels], and all
        of them were [dusty|grey]. {friend} held the lamp. {hero} [blew away the dust|cleaned one after another]. And
        there, between two teeth, was [a cherry stone|a button|an old penny].

        {hero} pulled it out with two fingers. [Tick|Click], said the clock. [Tock|Clack], it said then, and the
        wheels began to [turn|dance]. "[Who did that|How did you do that]?" <cried> {elder.full} down in the street.
        {friend} [looked closely at|held up] what they had found. "[I think I know whose that is|I wondered where that
        was]," said {friend}, and turned red. "I [lost|dropped] it last {day}."
    """,
    "puppet_show": """
        {hero} and {friend} made a puppet show out of [old socks|wooden spoons]. One was a [princess|witch], one was a
        [wolf|crocodile], and one was {elder.full}, with a [nose|beard] made of a carrot. They hung up a
        [sheet|blanket] {place.at}, and [ten|twelve] children came, and each paid a [nut|button].

        In the middle of the play, somebody [sneezed|coughed] in the last row. It was {elder}. {hero} [turned
        cold|nearly dropped the puppet]. "[What now|What shall we do]?" whispered {friend}. "[Make it brave|Make it
        kind], quickly," {hero} whispered back. So the puppet with the carrot [fought the wolf|saved them all] and got
        a crown.

        Everybody clapped. {elder} [came to the front|stood up] and looked at the puppet for a long time. "[My nose is
        not so long|I do not look like that]," said {elder}, "but the rest is [exactly right|quite true]." And {elder}
        paid with [a whole bag of nuts|two real pennies]. "[Do it again tomorrow!" cried|When is the next show?"
        asked] {third}.
    """,
    "teaching_a_skill": """
        Nobody in {village} could {hero.hobby} like {hero}. "[Teach me|Show me how]," said {friend}. "[It is easy|Just
        watch]," said {hero}, and showed it, much too fast. {friend} tried. It went wrong. {friend} tried again, and
        it went [worse|wrong again]. "[I am too stupid|I will never learn it]!" <cried> {friend}.

        {hero} remembered how {his} {parent.mother} {parent} had once [taught {him}|shown {him}]: slowly, and with
        [many|a lot of] breaks. "[It was my fault|I was too fast]," said {hero}. "We start [at the beginning|once
        more], with the very first step." So they did, every day {place.at}, for a week.

        On {day}, {friend} [came running|called {hero} to come]. "[Look|Look at me]!" {friend.he} said. And really,
        {friend} could {hero.hobby}, [a little crooked|not perfectly], but with [shining eyes|all {friend.his} heart].
        "And now," said {friend}, "I will teach you to [walk on stilts|stand on your head|wiggle your ears]." "Is it
        hard?" asked {hero}. "[It is easy|Just watch]," said {friend}, and they both laughed.
    """,
    "brave_heart": """
        {hero} was afraid of {hero.fear}. {He} told nobody, only {pet}, {his} {pet.colour} {pet.kind}. But [one day|on
        {day}] {friend} found out. {hero} [waited for the laughter|wanted to run away]. {friend} did not laugh. "I am
        afraid of {friend.fear}," said {friend}. "[Everybody is afraid of something.|Did you not know?]"

        "[What do you do about it|What helps]?" asked {hero}. "[I count to ten|I sing]," said {friend}. "And I hold on
        to my {friend.treasure}. [It cannot do anything|It does nothing at all], but it helps." {hero} thought of
        {his} own {hero.treasure} and took it along from then on.

        A few days later, [late in the evening|on the way home], the moment came, and {hero} felt {his} heart
        [jump|hammer]. {He} took hold of the {hero.treasure} and counted to ten. At [seven|eight] {he} noticed that it
        was [over|not so bad]. "[I did it|It worked]," {he} told {friend} the next day. "[I knew you would|We are two
        brave cowards]," said {friend}.
    """,
    "quarrel_of_friends": """
        {hero} and {friend} had quarrelled. It was about [a ball|a word|a marble], and by evening [neither knew|nobody
        knew] why it had been so bad. But {hero} did not go to {friend.home}, and {friend} did not come to
        {hero.home}. So passed [three|four] days.

        "[You look like rain|What a long face]," said {parent}, {his} {parent.mother}. "{friend} must say sorry
        first," said {hero}. "[I see|Is that so]," said {parent}. "{friend}'s {friend_parent.mother} tells me that
        {friend} says [just the same|exactly that]." {hero} looked out of the window for a [while|long time]. Then
        {he} [took {his} coat|put on {his} shoes].

        Half way, {place.at}, {he} met {friend}, who was coming the other way. They both [stopped|stood still]. "I am
        ..." said {hero}. "I am ..." said {friend}. "[Sorry|Hungry]," they said, and had to laugh. So they went to
        {friend.home} together, and they ate {friend.food} and had so much to tell that it was [dark|late] before they
        had finished.
    """,
    "new_bench": """
        {elder.full} had [bad knees|tired legs] and could not walk to {seller.shop} without a rest. "There should be a
        bench [half way|{place.at}]," said {hero}. {friend} [nodded|agreed]. But a bench needs [wood and
        nails|planks], and they had only {deal.change}.

        They asked [from door to door|at every door]. {third} gave [two nails|an old board]. {parent.full} gave a
        [plank|pot of paint], and {friend_parent.full} lent a [saw|hammer]. {hero} and {friend} sawed and hammered
        until their [thumbs|hands] were [blue|sore]. The first bench [fell over|had three legs]. The second one stood.

        {elder} came down the path on {day} and saw it. {elder.He} sat down, very [slowly|carefully], and nothing
        creaked. "[I have not seen the view from here|It is just right]," said {elder}. "Come and [sit|sit down],
        there is room for three." They sat till sunset, and {elder} told them how {village} was [long ago|in the old
        days].
    """,
    "lantern_walk": """
        On the longest night of the year the children of {village} walked with lanterns {place.to}. {hero} had made a
        [moon|fish|star], and {friend} had made a [house|ship|bird]. They walked behind {third} and sang, and their
        breath was like [smoke|little clouds].

        Then came a gust of wind, and the light of {hero} went out. {He} <sighed>. "[Take mine|You may have mine],"
        said {friend}. "Then you have none," said {hero}. {friend} thought, opened the little door of {friend.his}
        lantern, and [held it close to|leaned it against] the [dark|cold] one. The flame jumped across.

        "[Now there are two|Look, mine is no smaller]," said {friend}. They went on, and whenever a light went out,
        [one child|somebody] lit it again from the next. When they came back, {hero}'s {parent.mother} {parent} stood
        at the gate and counted the lights. "[Not one is missing|All of them are burning]," said {parent}. "[We kept
        them going|We shared]," said {hero}.
    """,
}
