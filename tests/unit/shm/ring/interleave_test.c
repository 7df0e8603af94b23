/* SPDX-License-Identifier: Apache-2.0 */
/* A tiny ring, a client and a reactor: every interleaving of their accesses, and the client's death after every one of its accesses.
 * The reactor must see a prefix of the committed frames in claim order, each whole, and never poison an honest client. */
#define MR_ATOMICS_SHIM
#include "tests/support/unit.h"
#include "tests/support/interleave.h"

#include "shm/ring/ring.c"

#define SHAPE ((struct mr_ring_shape){.completion_count = 2, .submission_bytes = 128})
#define FRAMES_MAX 8

static alignas(4096) uint8_t memory[MR_RING_COMPLETION_POSITION + 4096 + 128];

static struct world {
    struct mr_ring_producer client;
    struct mr_ring_consumer reactor;
    void (*script)(struct world *w);
    uint64_t start;              /* position where the ring begins its life */
    uint32_t given;              /* records published; record n carries sequence n and its body is n repeated */
    uint32_t seen;
    uint32_t seen_at_least;      /* published before the reactor's last look */
    uint32_t acked;
    bool crashed;
} world;

static void setup(void *context)
{
    struct world *w = context;
    void (*script)(struct world *) = w->script;
    uint64_t start = w->start;

    memset(memory, 0, MR_RING_COMPLETION_POSITION + 4096 + 128);
    memset(w, 0, sizeof *w);
    memset(memory + MR_RING_COMPLETION_POSITION + 4096, 0xff, 128); /* whatever an earlier lap left */
    w->script = script;
    w->start = start;
    mr_ring_producer_init(&w->client, memory, SHAPE);
    mr_ring_consumer_init(&w->reactor, memory, SHAPE);
    w->client.tail = w->client.free_from = w->client.committed = start;
    producer_set_limit(&w->client);
    w->reactor.position = w->reactor.released = w->reactor.committed = start;
    atomic_store(&w->client.daemon->released, start);
    atomic_store(&w->client.client->committed, start);
}

struct claim {
    uint8_t *frame;
    uint64_t position;
    uint32_t frame_bytes;
};

static uint64_t word_of(const struct claim *c)
{
    return mr_frame_word(c->frame_bytes, MR_FRAME_VALUE, 0, 7);
}

static bool claim(struct world *w, struct claim *c, uint32_t frame_bytes)
{
    c->frame_bytes = frame_bytes;
    c->frame = mr_ring_claim(&w->client, word_of(c), 0);
    if (c->frame == NULL) {
        mr_ring_producer_free(&w->client, mr_ring_producer_released(&w->client));
        c->frame = mr_ring_claim(&w->client, word_of(c), 0);
    }
    c->position = w->client.tail - frame_bytes;
    return c->frame != NULL;
}

static void fill(struct world *w, const struct claim *c, uint32_t number)
{
    memset(mr_ring_at(&w->client, c->position) + MR_FRAME_HEADER_BYTES, (int)number, c->frame_bytes - MR_FRAME_HEADER_BYTES);
}

static void publish(struct world *w, const struct claim *c)
{
    fill(w, c, w->given);
    mr_ring_stage(c->frame, w->given);
    mr_ring_publish(&w->client, c->position, c->position + c->frame_bytes);
    w->given++;
}

static void one_by_one(struct world *w)
{
    struct claim a, b;
    assert_true(claim(w, &a, 24));
    publish(w, &a);
    assert_true(claim(w, &b, 32));
    publish(w, &b);
}

static void as_a_batch(struct world *w)
{
    struct claim a, b, c;
    assert_true(claim(w, &a, 24) && claim(w, &b, 24) && claim(w, &c, 24));
    fill(w, &a, 0), fill(w, &b, 1), fill(w, &c, 2);
    mr_ring_stage(a.frame, 0);
    mr_ring_stage(b.frame, 1);
    mr_ring_stage(c.frame, 2);
    bool joined = b.position == a.position + 24 && c.position == b.position + 24;
    mr_ring_publish(&w->client, a.position, joined ? c.position + 24 : a.position); /* a pad may lie between */
    w->given = 3;
}

static void abort_in_the_middle(struct world *w)
{
    struct claim a, b, c;
    assert_true(claim(w, &a, 24) && claim(w, &b, 32) && claim(w, &c, 24));
    mr_ring_abort(&w->client, b.position, b.frame_bytes);
    publish(w, &a);
    publish(w, &c);
}

static void abort_the_first(struct world *w)
{
    struct claim a, b;
    assert_true(claim(w, &a, 24) && claim(w, &b, 24));
    mr_ring_abort(&w->client, a.position, a.frame_bytes);
    publish(w, &b);
}

static void abort_the_last_and_claim_anew(struct world *w)
{
    struct claim a, b;
    assert_true(claim(w, &a, 24) && claim(w, &b, 40));
    fill(w, &b, 0xee);
    mr_ring_abort(&w->client, b.position, b.frame_bytes);
    publish(w, &a);
    assert_true(claim(w, &b, 24));
    publish(w, &b);
}

static void commit_against_the_order_of_claims(struct world *w)
{
    struct claim a, b;
    assert_true(claim(w, &a, 24) && claim(w, &b, 24));
    fill(w, &b, 1);
    mr_ring_stage(b.frame, 1);
    mr_ring_publish(&w->client, b.position, b.position + b.frame_bytes);
    fill(w, &a, 0);
    mr_ring_stage(a.frame, 0);
    mr_ring_publish(&w->client, a.position, a.position + a.frame_bytes);
    w->given = 2;
}

static void fill_up_and_go_round(struct world *w)
{
    struct claim a;
    for (int i = 0; i < 3; i++)
        if (claim(w, &a, 56)) /* two fit, with a pad at the end; the third only when the reactor has released */
            publish(w, &a);
}

/* A bounded reactor: looks, takes all, answers, releases. */
static void reactor(void *context)
{
    struct world *w = context;
    struct mr_ring_frame frame[FRAMES_MAX];

    for (int pass = 0; pass < 3; pass++) {
        uint32_t given = w->given; /* plain: the coroutines are one thread */
        int count = mr_ring_peek(&w->reactor, frame, FRAMES_MAX);
        assert_true(count >= 0);
        for (int i = 0; i < count; i++) {
            assert_int_equal(frame[i].sequence, w->seen);
            assert_int_equal(mr_frame_handle(frame[i].word), 7);
            for (uint32_t k = 0; k < mr_frame_length(frame[i].word) - MR_FRAME_HEADER_BYTES; k++)
                assert_int_equal(frame[i].body[k], w->seen);
            w->seen++;
        }
        assert_true(w->seen >= given); /* what was published before the look is seen by it */
        if (count == 0)
            continue;
        mr_ring_consume(&w->reactor, &frame[count - 1]);
        struct mr_completion done = {.first_sequence = w->seen - (uint32_t)count, .count = (uint32_t)count, .handle = 7};
        assert_true(mr_ring_complete(&w->reactor, &done) || w->reactor.completion_next - w->acked == 2);
        mr_ring_release(&w->reactor, w->reactor.position);
    }
}

static void client(void *context)
{
    struct world *w = context;
    w->script(w);
}

static void verify(void *context, bool crashed)
{
    struct world *w = context;
    struct mr_ring_frame frame[FRAMES_MAX];
    int count = mr_ring_peek(&w->reactor, frame, FRAMES_MAX);

    assert_true(count >= 0); /* dead or not, an honest client leaves a ring that can be read */
    for (int i = 0; i < count; i++)
        assert_int_equal(frame[i].sequence, w->seen + (uint32_t)i);
    w->seen += (uint32_t)count;
    if (!crashed)
        assert_int_equal(w->seen, w->given);
    struct mr_completion ack;
    uint64_t next = 0;
    while (mr_ring_poll(&w->client, &ack)) {
        assert_int_equal(ack.first_sequence, next);
        next += ack.count;
    }
}

static void all_of(void (*script)(struct world *), uint64_t start)
{
    struct interleave plan = {
        .setup = setup, .thread = {client, reactor}, .verify = verify, .context = &world, .crash_after = -1,
    };
    world.script = script;
    world.start = start;
    assert_true(interleave_all(&plan));
    uint64_t runs = plan.runs;
    plan.reached = true;
    for (plan.crash_after = 0; plan.reached; plan.crash_after++) {
        assert_true(interleave_all(&plan));
        runs += plan.runs;
    }
    print_message("%llu runs, %d crash points\n", (unsigned long long)runs, plan.crash_after - 1);
    assert_true(runs > 5); /* a batch is shown by one store: there is little to interleave */
}

#define EACH(name, script)                                                                                                                \
    static void name(void **state)                                                                                                         \
    {                                                                                                                                      \
        (void)state;                                                                                                                       \
        all_of(script, 0);                                                                                                                 \
        all_of(script, 128 - 40); /* the end of the ring comes in the middle */                                                            \
        all_of(script, 128 - 8);                                                                                                           \
        all_of(script, 128 - 24); /* a frame of 24 ends exactly at the end */                                                              \
    }
EACH(frames_are_seen_whole_and_in_order, one_by_one)
EACH(a_batch_is_seen_in_order, as_a_batch)
EACH(an_abort_in_the_middle_is_skipped, abort_in_the_middle)
EACH(an_abort_of_the_first_lets_the_others_pass, abort_the_first)
EACH(an_abort_of_the_last_gives_its_space_back, abort_the_last_and_claim_anew)
EACH(commits_out_of_order_are_seen_in_order, commit_against_the_order_of_claims)
EACH(space_is_reused_only_after_release, fill_up_and_go_round)

/* Acks the other way: two lines, four completions, none lost, none twice. */
static void acking_client(void *context)
{
    struct world *w = context;
    struct mr_completion ack;

    for (int i = 0; i < 5; i++) {
        if (mr_ring_poll(&w->client, &ack)) {
            assert_int_equal(ack.first_sequence, w->acked);
            w->acked += ack.count;
        }
        if (i % 2 == 1)
            mr_ring_heard(&w->client);
    }
}

static void acking_reactor(void *context)
{
    struct world *w = context;

    for (int i = 0; i < 5; i++) {
        struct mr_completion ack = {.first_sequence = w->given, .count = 1};
        if (mr_ring_complete(&w->reactor, &ack))
            w->given++;
        else
            assert_int_equal(w->reactor.reason, MR_POISON_NONE);
    }
}

static void verify_acks(void *context, bool crashed)
{
    struct world *w = context;
    struct mr_completion ack;

    (void)crashed;
    while (mr_ring_poll(&w->client, &ack)) {
        assert_int_equal(ack.first_sequence, w->acked);
        w->acked += ack.count;
    }
    assert_int_equal(w->acked, w->given);
    assert_true(w->given >= 2);
}

static void completions_are_neither_lost_nor_doubled(void **state)
{
    (void)state;
    struct interleave plan = {
        .setup = setup, .thread = {acking_client, acking_reactor}, .verify = verify_acks, .context = &world, .crash_after = -1,
    };
    assert_true(interleave_all(&plan));
    assert_true(plan.runs > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_are_seen_whole_and_in_order),
        cmocka_unit_test(a_batch_is_seen_in_order),
        cmocka_unit_test(an_abort_in_the_middle_is_skipped),
        cmocka_unit_test(an_abort_of_the_first_lets_the_others_pass),
        cmocka_unit_test(an_abort_of_the_last_gives_its_space_back),
        cmocka_unit_test(commits_out_of_order_are_seen_in_order),
        cmocka_unit_test(space_is_reused_only_after_release),
        cmocka_unit_test(completions_are_neither_lost_nor_doubled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
