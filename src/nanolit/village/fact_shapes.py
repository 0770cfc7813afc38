"""Passages that state what is so in the village: the same facts as in the stories, in the present tense."""

SHAPES = {
    "portrait": """
        {hero} is a {hero.kind} of {hero.age}. {He} lives {hero.at_home} with {his} {parent.mother} {parent} and {his}
        {sibling.sib} {sibling}. [{Hero.Home} stands {hero.near}.|{parent} is {parent.a_trade}.] {hero} keeps
        {hero.a_pet} called {pet}. {He} likes {hero.hobbying} and loves {hero.food}, but {he} is afraid of
        {hero.fear}. [{His} greatest treasure is {hero.a_treasure}.|The thing {he} would never give away is
        {hero.a_treasure}.] [{friend} often comes to visit|{friend} is a friend of {hero}], and {pair.ages}.
    """,
    "household": """
        {parent.full} lives {parent.at_home}, {parent.near}. {parent.He} has two children, {parent.children}.
        [{sibling} is {sibling.age} years old, and {hero} is {hero.age}.|{hero} is {hero.age} years old, and {sibling}
        is {sibling.age}.] There are two animals in the house. {hero} has {hero.a_pet} called {hero.pet}, and
        {sibling} has {sibling.a_pet} called {sibling.pet}. [{parent} works {parent.at_shop}.|Every day but
        {parent.closed}, {parent} works {parent.at_shop}.] When {friend} comes from {friend.home} to visit, [the house
        is full|there is a lot of noise].
    """,
    "shop": """
        {parent.full} works {parent.at_shop}. {parent.Prices}. {parent.Shop} is closed on {parent.closed}. [{hero},
        the {hero.heir} of {parent}, often helps there.|{parent} is the {parent.mother} of {hero} and {sibling}.]
        {friend}, who lives {friend.at_home}, [is the best customer|likes to come and look at everything|bought
        something there yesterday].
    """,
    "price_list": """
        [What does it cost?|These are the prices.|Here is a price list.] {Seller.Prices}. [All this is sold by
        {seller.full} {seller.at_shop}.|{seller.full} sells them {seller.at_shop}.] [Those who buy {deal.count}
        {item.plural} pay {deal.total}.|{deal.Count} {item.plural} cost {deal.total}.] [If {hero} pays with
        {deal.paid}, {he} gets {deal.change} back.|Out of {deal.paid}, {hero} gets {deal.change} back.] If {hero} and
        {friend} share {item.a}, and {hero} gives {deal.share}, then {friend} gives {deal.rest}.
    """,
    "two_animals": """
        [{hero} and {friend} both keep an animal.|Two children, two animals.|Here are two animals of {village}.]
        [{hero} has {hero.a_pet}, and {friend} has {friend.a_pet}.|The animal of {hero} is {hero.a_pet}, and the
        animal of {friend} is {friend.a_pet}.] The name of the {hero.pet_kind} is {pet}, and the name of the
        {friend.pet_kind} is {friend_pet}. {pet} sleeps {pet.bed} and likes {pet.food}. {friend_pet} sleeps
        {friend_pet.bed} and likes {friend_pet.food}. [Both are well fed.|Both are loved very much.|Nobody knows which
        of them is cleverer.]
    """,
    "two_houses": """
        {hero} lives {hero.at_home}, and {friend} lives {friend.at_home}. {Hero.Home} stands {hero.near}.
        {Friend.Home} stands {friend.near}. [To visit {friend}, {hero} walks from {hero.home} to {friend.home}.|When
        {hero} visits {friend}, {pet} comes along.] {sibling} lives {sibling.at_home} too, for {sibling} is the
        {sibling.sib} of {hero}. In the same way {friend_sibling}, the {friend_sibling.sib} of {friend}, lives
        {friend_sibling.at_home}.
    """,
    "two_ages": """
        [How old are they?|Who is older?|Let us count the years.] {hero} is {hero.age} years old. {friend} is
        {friend.age} years old. [So|That means that] {pair.ages}. {sibling}, the {sibling.sib} of {hero}, is
        {sibling.age}. {friend_sibling}, the {friend_sibling.sib} of {friend}, is {friend_sibling.age}. [All four go
        to school in {village}.|All four are children of {village}.|On {day} all four play together.]
    """,
    "likes": """
        [Everybody likes something.|People like different things.|What do the children of {village} like?] {hero}
        likes {hero.hobbying}. {friend} likes {friend.hobbying}. The favourite food of {hero} is {hero.food}, and the
        favourite food of {friend} is {friend.food}. {sibling} loves {sibling.food}, and {third} loves {third.food}.
        [There is something for everyone.|So there is always a lot to cook.|Nobody likes to wash the dishes.]
    """,
    "fears_and_treasures": """
        {hero} is afraid of {hero.fear}, and {friend} is afraid of {friend.fear}. [Nobody laughs at them|That is no
        shame], for {third} is afraid of {third.fear}. Each of them has a treasure. {hero} has {hero.a_treasure},
        {friend} has {friend.a_treasure}, and {third} has {third.a_treasure}. [They keep them in their pockets.|They
        would not give them away for all the money in {village}.|They show them only to good friends.]
    """,
    "questions": """
        Who is {hero}? {hero} is the {hero.heir} of {parent.full}. Where does {hero} live? {He} lives {hero.at_home}.
        What animal does {hero} have? {He} has {hero.a_pet} called {pet}. [What does {hero} like to eat? {He} likes
        {hero.food}.|What does {hero} like to do? {He} likes to {hero.hobby}.|What is {hero} afraid of? {He} is afraid
        of {hero.fear}.]

        Who is {friend}? {friend} is the {friend.heir} of {friend_parent.full}. Where does {friend} live? {friend.He}
        lives {friend.at_home}. What animal does {friend} have? {friend.He} has {friend.a_pet} called {friend_pet}.
        [How old is {friend}? {friend} is {friend.age}.|What is the treasure of {friend}? It is {friend.a_treasure}.]
    """,
    "shop_questions": """
        Who is the {seller.trade}? The {seller.trade} of {village} is {seller}. Where does {seller} work? {seller.He}
        works {seller.at_shop}. What does {seller} sell? {seller.He} sells {seller.wares}. How much is {item.a}?
        {Item.A} costs {item.price}. When is {seller.shop} closed? It is closed on {seller.closed}. [Who asks so many
        questions?|Who wants to know all this?] {hero} does, and {friend} [writes down the answers|knows all the
        answers].
    """,
    "workplaces": """
        {parent}, the {parent.mother} of {hero}, is {parent.a_trade} and works {parent.at_shop}. {friend_parent}, the
        {friend_parent.mother} of {friend}, is {friend_parent.a_trade} and works {friend_parent.at_shop}. [{seller} is
        {seller.a_trade} and works {seller.at_shop}.|{elder} is {elder.a_trade} and works {elder.at_shop}.] {parent}
        sells {parent.wares}. {friend_parent} sells {friend_parent.wares}. [{Parent.Shop} is closed on
        {parent.closed}, and {friend_parent.shop} is closed on {friend_parent.closed}.|So {village} has all it needs.]
    """,
    "best_friends": """
        [{hero} and {friend} know each other well.|Who is whose best friend?|{hero} and {friend} both have a best
        friend.] {Pair.Best}. {hero} lives {hero.at_home} and {friend} lives {friend.at_home}. [{sibling} is the
        {sibling.sib} of {hero}, and {hero.best} is the best friend.|A {sibling.sib} is not the same as a best friend:
        the {sibling.sib} of {hero} is {sibling}.] [They all meet {place.at}.|On {day} they all meet {place.at}.|In
        summer they all play {place.at}.]
    """,
    "yes_or_no": """
        [Yes or no?|A few questions.|Let us ask.] Does {hero} live {friend.at_home}? No, {hero} lives {hero.at_home}.
        Does {pet} belong to {friend}? No, {pet} belongs to {hero}, and {friend} has {friend.a_pet} called
        {friend_pet}. Is {seller} {seller.a_trade}? Yes, {seller} is {seller.a_trade}. [Does {item.a} cost
        {item.price}? Yes, {item.a} costs {item.price}.|Is {seller.shop} open on {day}? Yes, {seller.shop} is open on
        {day}.] [Is {parent} the {parent.mother} of {hero}? Yes, {parent} is the {parent.mother} of {hero}.|Is
        {sibling} the {sibling.sib} of {hero}? Yes, {sibling} is the {sibling.sib} of {hero}.|Is {friend} {friend.age}
        years old? Yes, {friend} is {friend.age} years old.]
    """,
}
