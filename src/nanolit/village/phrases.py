"""Turns of phrase that many shapes share: `<meet>` in a shape is replaced by the text given here (see template.py)."""

MACROS = {
    # Openings.
    "one_day": "[One day|One morning|One afternoon|On {day}|Early on {day}|Late on {day}]",
    "meet": "[{hero} lived {hero.at_home} with {his} {sibling.sib} {sibling}|"
    "{hero} was a {hero.kind} of {hero.age} who lived {hero.at_home}|"
    "In {village} lived a {hero.kind} called {hero}, who was {hero.age} years old|"
    "{hero} was {hero.age} years old and lived {hero.at_home}, {hero.near}|"
    "{hero} of {village} was the {hero.heir} of {parent.full}].",
    "meet_pet": "[{hero} had {hero.a_pet} called {pet}|"
    "Everyone in {village} knew {pet}, the {pet.colour} {pet.kind} of {hero}|"
    "In {village} lived a {hero.kind} called {hero}, who kept {hero.a_pet}. The name of the {pet.kind} was {pet}|"
    "{hero} lived {hero.at_home} with {pet}, {hero.a_pet}].",
    "meet_both": "[{hero} and {friend} were friends, though {hero} lived {hero.at_home} "
    "and {friend} lived {friend.at_home}|"
    "{hero} lived {hero.at_home}, and {his} friend {friend} lived {friend.at_home}|"
    "{hero} was {hero.age} and {friend} was {friend.age}, and they liked to play together|"
    "{hero} loved {hero.hobbying}, {friend} loved {friend.hobbying}, and both loved a good day out].",
    # Feelings of the hero.
    "smiled": "[smiled|grinned|laughed|beamed]",
    "sighed": "[sighed|frowned|bit {his} lip|hung {his} head|swallowed hard]",
    "cried": "[cried|called|shouted]",
    "proud": "[very proud|as proud as a king|prouder than ever]",
    # Joints.
    "soon": "[Soon|Before long|In no time|A little later]",
    "at_last": "[At last|In the end|After a long while|Finally]",
    "suddenly": "[Suddenly|All at once|Just then|At that moment]",
    "then": "[Then|After that|So]",
    "friend_came": "[Just then {friend} came by|Then {friend} came along|Luckily {friend} came round the corner|"
    "At that moment {friend} walked past]",
    "thanks": '["Thank you," said {hero}.|"You are a true friend," said {hero}.|"That was kind of you," said {hero}.|'
    '"What would I do without you?" said {hero}.]',
    # Endings.
    "end": "[That evening {hero} told {his} {sibling.sib} {sibling} all about it|"
    "That night {hero} fell asleep with a smile|"
    "At supper {his} {parent.mother} {parent} had to hear the whole story, twice|"
    "Then they ran home, for supper was ready|"
    "From then on {hero} and {friend} were better friends than ever|And so the day ended well in {village}].",
}
