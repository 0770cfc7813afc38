"""Short texts of the sorts that a tokenizer meets, written for this project: what compression is compared on."""

from textwrap import dedent

NEWS = """\
HARBOUR TOWN VOTES TO REBUILD ITS OLD BRIDGE

Ellingmouth, 14 March (our own correspondent). After eleven hours of debate the town council decided late on Tuesday, \
by nineteen votes to twelve, to rebuild the swing bridge over the Wend instead of replacing it with a tunnel. The work \
will cost an estimated $48.6 million, about a third less than the tunnel, and is expected to begin in the spring of \
next year.

"We have listened to the fishermen, the school and the ferry company, and none of them asked for a tunnel," said Mayor \
Odile Harrow, whose party had long been divided on the question. Her opponent, Tom Brandreth, called the decision \
"nostalgia with a price tag" and warned that the new bridge would still have to be opened 3,400 times a year.

The present bridge was closed to lorries in 2019, when engineers found cracks in two of its four bearings. Since then \
deliveries to the northern quay have taken a detour of 27 kilometres. Shopkeepers there say that they have lost \
between 15 and 20 per cent of their customers; one bakery, open since 1908, shut its doors last autumn.

Construction is to be paid for in equal parts by the town and the state, while the port authority has promised a loan \
at 2.25%. If nothing is delayed (and in Ellingmouth, residents like to point out, something always is), the first cars \
will cross on the eve of the regatta, in less than three years.
"""

KOREAN = """\
바닷가 작은 마을에 사는 은서는 매일 아침 여섯 시에 일어나 등대까지 걸어간다. 등대지기였던 할아버지가 세상을 떠난 뒤로 \
등대에는 아무도 살지 않지만, 은서는 여전히 창문을 닦고 기록장에 날씨를 적는다. “오늘은 북서풍, 물결 높이 1.5미터, \
안개 조금.” 누가 시킨 일도 아니고 돈을 받는 일도 아니다. 그저 할아버지가 사십 년 동안 하루도 빠뜨리지 않은 일을 \
여기서 멈추고 싶지 않을 뿐이다.

지난 12월, 갑자기 눈보라가 몰아친 밤에 고깃배 한 척이 길을 잃었다. 무전기도 고장 나고 휴대 전화도 터지지 않았다. \
그때 은서는 창고에서 낡은 손전등 스무 개를 꺼내 난간에 하나씩 매달았다. 멀리서 보면 마치 별자리 같았다고, 무사히 \
돌아온 선장은 나중에 웃으며 말했다. 마을 사람들은 그 뒤로 등대를 다시 켜자고 뜻을 모았고, 군청에서도 수리비의 절반을 \
지원하기로 했다.

올봄이면 새 전구가 들어온다. 은서는 첫 불을 켜는 날 기록장의 마지막 쪽에 무엇을 쓸지 벌써 정해 두었다. “맑음. 배 열세 \
척이 모두 돌아옴.”
"""

CODE = dedent('''\
    """Leaky-bucket rate limiting for a small web service."""

    import time
    from collections import defaultdict
    from dataclasses import dataclass, field


    @dataclass
    class Bucket:
        capacity: int = 20
        leak_per_s: float = 2.5
        level: float = 0.0
        seen_at: float = field(default_factory=time.monotonic)

        def allow(self, cost: float = 1.0) -> bool:
            now = time.monotonic()
            self.level = max(0.0, self.level - (now - self.seen_at) * self.leak_per_s)
            self.seen_at = now
            if self.level + cost > self.capacity:
                return False  # the caller answers 429 Too Many Requests
            self.level += cost
            return True


    buckets: dict[str, Bucket] = defaultdict(Bucket)


    def handle(request):
        if not buckets[request.remote_addr].allow():
            return {"error": "slow down", "retry_after_s": 8}, 429
        return {"items": [item.to_json() for item in request.db.query("SELECT * FROM items LIMIT 50")]}, 200

    /* ring.c: a byte ring for one writer and one reader */
    #include <stdatomic.h>
    #include <stdint.h>

    #define RING_SIZE 4096u /* a power of two */

    typedef struct {
        uint8_t data[RING_SIZE];
        _Atomic uint32_t head, tail;
    } ring_t;

    int ring_put(ring_t *ring, uint8_t byte)
    {
        uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
        uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);

        if (head - tail == RING_SIZE)
            return -1;
        ring->data[head & (RING_SIZE - 1)] = byte;
        atomic_store_explicit(&ring->head, head + 1, memory_order_release);
        return 0;
    }
''')

MATHS = r"""\section{Sums that telescope}

Let $a_1, a_2, \dots$ be a sequence of real numbers with $a_n \to 0$. Writing $b_n = a_n - a_{n+1}$, we see that
\begin{equation}\label{eq:telescope}
  \sum_{n=1}^{N} b_n = a_1 - a_{N+1} \;\longrightarrow\; a_1 \qquad (N \to \infty),
\end{equation}
so that the series $\sum_{n \ge 1} b_n$ converges, and its value can be read off its first term.

\textbf{Example 1.} Since $\frac{1}{n(n+2)} = \frac{1}{2}\left(\frac{1}{n} - \frac{1}{n+2}\right)$, two neighbouring
terms survive and
\[
  \sum_{n=1}^{\infty} \frac{1}{n(n+2)} = \frac{1}{2}\left(1 + \frac{1}{2}\right) = \frac{3}{4}.
\]

\textbf{Example 2.} For $|x| < 1$ the partial products $P_N = \prod_{k=0}^{N} (1 + x^{2^k})$ satisfy
$(1 - x) P_N = 1 - x^{2^{N+1}}$, by induction on $N$: the case $N = 0$ is $(1-x)(1+x) = 1 - x^2$, and
$(1 - x^{2^{N+1}})(1 + x^{2^{N+1}}) = 1 - x^{2^{N+2}}$. Hence $P_N \to \frac{1}{1-x}$.

\textbf{Exercise.} (a) Compute $\sum_{n=1}^{99} \bigl(\sqrt{n+1} - \sqrt{n}\bigr)$. (b) Show that
$\int_0^\infty \lfloor x \rfloor e^{-x}\, dx = \frac{1}{e - 1} \approx 0.581977$. (c) A square has area $A = 2\,809$;
how long is its diagonal, to three decimals? \emph{Answers:} $9$; use \eqref{eq:telescope}; $53\sqrt{2} = 74.953$.
"""

SCIENCE = """\
Why do leaves of the same tree differ in thickness? A leaf at the sunny top of the crown receives up to 2000 µmol of \
photons per square metre and second, one in the shade below often less than 50. The upper leaf builds two or three \
layers of palisade cells, which hold most of its chloroplasts, and may weigh 120 g/m²; the lower one makes do with a \
single layer and half the mass. Both are built from the same genome: what differs is the light that reached the bud \
in the previous summer.

Photosynthesis, CO₂ + 2 H₂A → CH₂O + 2 A + H₂O in its general form, saturates when the enzyme Rubisco, and no longer \
the supply of light, sets the pace. In strong light the thick leaf therefore gains more carbon per area, although its \
respiration at night (roughly 7 % of the gain at 20 °C) is higher as well. In weak light that cost decides: below a \
compensation point of some 10 µmol m⁻² s⁻¹ a thick leaf would lose more than it earns.

The measurements of δ¹³C tell the same story. Carbon in sun leaves is heavier, by 2-3 ‰, because their stomata close \
earlier in the afternoon and the remaining air inside the mesophyll becomes richer in the rare isotope. Whether trees \
also "plan" for next year's canopy, or whether each bud simply counts photons through phytochrome B, is still debated; \
grafting experiments with Fagus sylvatica, in which shaded buds were moved to the top, point towards the second answer.
"""

SAMPLE_TEXTS = {"news": NEWS, "Korean": KOREAN, "code": CODE, "maths": MATHS, "science": SCIENCE}
