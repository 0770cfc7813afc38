"""Clapping, skipping and counting-out rhymes: few words, and the same names again and again.

They are what children sing, and they are what a small model learns to look back from: nearly every word is a copy of
one that stands shortly before. Without them a model of a million parameters writes fluent stories in which everybody's
name changes from sentence to sentence: a name that stands in its context it guesses at chance even after 600 steps.
"""

SHAPES = {
    "clapping": """
        Clap with {hero}, clap with {friend}, clap with {hero} and {friend}. Who claps first? {hero} claps first. Who
        claps last? {friend} claps last. {hero}, {friend}, {hero}, {friend}, [and that is the end|now it is over].
    """,
    "skipping": """
        {hero} in, {hero} out, {friend} in, {friend} out, {third} in, {third} out. [Turn around|Jump up high], {hero}!
        [Turn around|Jump up high], {friend}! [Turn around|Jump up high], {third}! {hero}, {friend} and {third},
        [all fall down|all jump out].
    """,
    "roll_call": """
        Where is {hero}? Here is {hero}. Where is {friend}? Here is {friend}. Where is {third}? Here is {third}. Is
        {hero} here? Yes, {hero} is here. Is {friend} here? Yes, {friend} is here. Then [the song|the day] can begin,
        with {hero}, {friend} and {third}.
    """,
    "echo": """
        "{hero}!" called {friend}. "{hero}, {hero}," said the echo. "{friend}!" called {hero}. "{friend}, {friend},"
        said the echo. "{pet}!" called {hero} and {friend}. "{pet}, {pet}," said the echo. [And {pet} came
        running.|{pet} sat down and wondered.]
    """,
    "counting_out": """
        One for {hero}, two for {friend}, three for {hero}, four for {friend}, five for {hero}, six for {friend}. Who is
        out? {friend} is out. Who is in? {hero} is in. [Now {hero} may hide, and {friend} must seek.|{hero} runs, and
        {friend} runs after {him}.]
    """,
    "animal_sounds": """
        "Moo," said {hero}. "Quack," said {friend}. "Baa," said {hero}. "Cluck," said {friend}. Who said "moo"? {hero}
        said "moo". Who said "quack"? {friend} said "quack". ["Again!" shouted {hero}.|"Again!" shouted {friend}.]
    """,
    "copycat": """
        {hero} jumped, and {friend} jumped. {friend} danced, and {hero} danced. {hero} laughed, and {friend} laughed.
        {friend} sang, and {hero} sang. "Stop it, {friend}!" called {hero}. "Stop it, {hero}!" called {friend}.
    """,
    "whispers": """
        {hero} whispered to {friend}, and {friend} whispered to {third}. "What did {hero} say?" asked {third}. "Ask
        {hero}," said {friend}. "What did {third} say?" asked {hero}. "Ask {third}," said {friend}.
    """,
    "good_night": """
        Good night, {hero}. Good night, {friend}. Good night, {pet}. Good night, {friend_pet}. {hero} sleeps, and {pet}
        sleeps. {friend} sleeps, and {friend_pet} sleeps. Sleep well, {hero} and {pet}. Sleep well, {friend} and
        {friend_pet}.
    """,
}
