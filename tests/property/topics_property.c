/* SPDX-License-Identifier: Apache-2.0 */
/* The control process's topics between clients, a store and a data plane, each of which dies and comes back at any moment. Clients ask again, with the
 * same change id, until they are answered. In the end, and at quiet moments: what was answered as done is in the store and at the data plane, what was
 * refused is in neither, nothing waits to be deleted, and no producer id was given twice (topics.h, T1-T4).
 *
 * The data plane here is a list that survives it, which carries entries out one by one, whenever it gets to it, and now and then cannot. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "control/topics/topics.h"
#include "shm/base/bits.h"
#include "shm/base/logging.h"
#include "shm/base/random.h"
#include "shm/desired/desired.h"
#include "tests/support/property.h"

#define NAMES    6
#define MAIL_MAX 512

struct topic {
    bool exists;
    bool unsure; /* in the model: or not, for who deleted it gave up before it had an answer */
    struct mr_uuid id;
    uint32_t partitions;
    char config[128];
};

/* What a client waits for; one of each name. */
struct client {
    bool waits, asked;
    uint64_t ticket;
    uint32_t refusals; /* by the data plane, of this change */
    uint16_t type;
    struct mr_message_topic_change change;
};

static struct mr_node_config config;
static struct mr_random dice;
static char store_path[64];
static struct mr_coord *coord;
static struct mr_topics *control;
static struct topic model[NAMES], plane[NAMES]; /* what clients know; what the data plane has, by name */
static struct client client[NAMES];
static bool linked, loses_store;
static struct mr_desired_reader table;
static struct {
    alignas(8) uint8_t bytes[4096];
} mail[MAIL_MAX]; /* to the data plane */
static uint32_t mail_count;
static uint64_t next_ticket;
static int64_t ids_end;
static uint32_t failed_of[NAMES];
static struct {
    uint64_t asked, done, refused, again, control_deaths, plane_deaths, failures, ids;
} count;

static const char *name_of(uint32_t n)
{
    static const char *const names[NAMES] = {"a", "b", "orders", "x.y-z", "t_1", "long.name.of.a.topic"};
    return names[n];
}

static int send_mail(void *context, const struct mr_message_header *message, int fd)
{
    struct millrace_error err;
    (void)context;
    if (message->type == MR_CONTROL_TABLE) { /* its descriptor is taken out of the mail, or it would be gone */
        const struct mr_control_table *new_table = (const void *)message;
        mr_desired_close(&table);
        must(mr_desired_open(&table, fd, new_table->bytes, &err) == 0);
        return 0;
    }
    must(mail_count < MAIL_MAX && message->bytes <= sizeof mail[0].bytes);
    memcpy(mail[mail_count++].bytes, message, message->bytes);
    return 0;
}

static void to_control(void *message, uint32_t bytes, uint16_t type, uint64_t request)
{
    struct millrace_error err;
    struct mr_message_header *header = message;
    *header = (struct mr_message_header){.bytes = bytes, .type = type, .request = request};
    must(mr_topics_message(control, header, &err) == 0);
}

static void step_control(void)
{
    struct millrace_error err;
    must(mr_topics_step(control, &err) == 0);
}

static void start_control(void)
{
    struct millrace_error err;
    must(mr_coord_embedded_open(&coord, store_path, &err) == 0);
    struct mr_topics_options options = {.coord = coord, .config = &config, .data_id = {{7}}, .send = send_mail};
    must(mr_topics_new(&control, &options, &err) == 0);
}

/* Clients hear of it, from the data plane: they ask again. */
static void unlink_both(void)
{
    linked = false;
    mail_count = 0;
    mr_desired_close(&table);
    for (uint32_t n = 0; n < NAMES; n++) {
        if (client[n].asked && client[n].type == MR_MESSAGE_TOPIC_DELETE && model[n].exists && mr_random_chance(&dice, 1, 2)) {
            client[n].waits = false;
            model[n].unsure = true;
        }
        client[n].asked = false;
    }
}

static void kill_control(void)
{
    unlink_both();
    mr_topics_free(control);
    mr_coord_release(coord);
    must(!loses_store || unlink(store_path) == 0);
    start_control();
    count.control_deaths++;
}

static void kill_plane(void)
{
    if (!linked)
        return;
    unlink_both();
    mr_topics_unlinked(control);
    count.plane_deaths++;
}

static void link_both(void)
{
    struct millrace_error err;
    char text[4096] = "[", id[MR_UUID_CHARS + 1];
    for (uint32_t n = 0; n < NAMES; n++) {
        if (!plane[n].exists)
            continue;
        char lines[160] = "";
        for (const char *at = plane[n].config; *at != '\0'; at++)
            snprintf(lines + strlen(lines), sizeof lines - strlen(lines), *at == '\n' ? "\\n" : "%c", *at);
        mr_uuid_text(&plane[n].id, id);
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s{\"name\": \"%s\", \"id\": \"%s\", \"partitions\": %u, \"config\": \"%s\"}",
                 text[1] != '\0' ? "," : "", name_of(n), id, plane[n].partitions, lines);
    }
    strcat(text, "]");
    linked = true;
    must(mr_topics_linked(control, text, &err) == 0);
    struct mr_control_want_ids want = {.floor = ids_end};
    to_control(&want, sizeof want, MR_CONTROL_WANT_IDS, 0);
    step_control();
}

static uint32_t name_index(const char *name)
{
    uint32_t n = 0;
    while (strcmp(name_of(n), name) != 0)
        n++;
    return n;
}

/* The data plane carries out the next entry of its table. @return false: there is none */
static bool apply_one(void)
{
    struct mr_desired entry;
    struct mr_control_applied applied = {0};
    int rc = mr_desired_next(&table, &entry);
    must(rc >= 0);
    if (rc == 0)
        return false;
    uint32_t n = name_index(entry.name);
    struct topic *topic = &plane[n];
    bool same = topic->exists && mr_uuid_equal(&topic->id, &entry.topic_id);
    applied.number = entry.number;
    if (entry.kind == MR_DESIRED_GONE) {
        if (same)
            topic->exists = false;
    } else if (!same && topic->exists) {
        applied.code = EEXIST;
    } else if (!same && mr_random_chance(&dice, 1, 6)) {
        applied.code = ENOSPC;
        failed_of[n]++;
        count.failures++;
    } else {
        must(!same || entry.partition_count >= topic->partitions);
        *topic = (struct topic){.exists = true, .id = entry.topic_id, .partitions = entry.partition_count};
        snprintf(topic->config, sizeof topic->config, "%s", entry.config);
    }
    snprintf(applied.text, sizeof applied.text, "%s", applied.code != 0 ? "no space" : "");
    to_control(&applied, sizeof applied, MR_CONTROL_APPLIED, 0);
    step_control();
    return true;
}

/* What a change makes of a topic. @return 0, or the errno it is refused with */
static int expect(struct topic *topic, const struct client *asked)
{
    if (asked->type == MR_MESSAGE_TOPIC_CREATE) {
        if (topic->exists)
            return EEXIST;
        *topic = (struct topic){.exists = true, .partitions = asked->change.partition_count};
        snprintf(topic->config, sizeof topic->config, "%s", asked->change.config);
        return 0;
    }
    if (!topic->exists)
        return ENOENT;
    if (asked->type == MR_MESSAGE_TOPIC_DELETE) {
        topic->exists = false;
    } else if (asked->type == MR_MESSAGE_TOPIC_PARTITIONS) {
        if (asked->change.partition_count <= topic->partitions)
            return EINVAL;
        topic->partitions = asked->change.partition_count;
    } else {
        struct millrace_error err;
        char merged[MR_TOPIC_CONFIG_BYTES];
        must(mr_topic_config_merge(topic->config, asked->change.config, merged, &err) == 0);
        snprintf(topic->config, sizeof topic->config, "%s", merged);
    }
    return 0;
}

static void answered(const struct mr_message_error *answer)
{
    uint32_t n = 0;
    while (n < NAMES && !(client[n].waits && client[n].asked && client[n].ticket == answer->header.request))
        n++;
    must(n < NAMES); /* nobody else asked */
    struct client *asked = &client[n];
    asked->asked = false;
    if (answer->code == EAGAIN) {
        count.again++;
        return;
    }
    asked->waits = false;
    if (model[n].unsure) { /* it was asked to be created */
        model[n].exists = answer->code == EEXIST;
        model[n].unsure = false;
    }
    struct topic before = model[n];
    int expected = expect(&model[n], asked);
    /* Who asks again for a deletion that was done, and of which nothing is left, hears that there is no such topic. */
    bool gone = asked->type == MR_MESSAGE_TOPIC_DELETE && answer->code == ENOENT;
    if (answer->code == ENOSPC) {
        must(failed_of[n] > asked->refusals && asked->type == MR_MESSAGE_TOPIC_CREATE);
        model[n] = before;
        count.refused++;
    } else {
        if (answer->code != expected && !gone)
            fprintf(stderr, "type %u of %s: %d (%s), expected %d; partitions %u\n", asked->type, name_of(n), answer->code, answer->text, expected,
                    asked->change.partition_count);
        must(answer->code == expected || gone);
        count.done += answer->code == 0;
        count.refused += answer->code != 0;
    }
}

/* The data plane reads its mail. @return false: there was none */
static bool read_mail(void)
{
    if (mail_count == 0)
        return false;
    union {
        alignas(8) uint8_t bytes[4096];
        struct mr_message_header header;
        struct mr_control_ids ids;
        struct mr_message_error answer;
    } first;
    memcpy(&first, mail[0].bytes, sizeof first);
    memmove(&mail[0], &mail[1], (--mail_count) * sizeof mail[0]);
    if (first.header.type == MR_CONTROL_IDS) {
        must(first.ids.first >= ids_end && first.ids.end > first.ids.first);
        ids_end = first.ids.end;
        count.ids++;
        struct mr_control_want_ids want = {.floor = ids_end};
        if (mr_random_chance(&dice, 1, 3))
            to_control(&want, sizeof want, MR_CONTROL_WANT_IDS, 0);
    } else if (first.header.type == MR_CONTROL_ANSWER) {
        answered(&first.answer);
    } else {
        must(first.header.type == MR_CONTROL_HINT);
    }
    return true;
}

static void think_of_something(uint32_t n)
{
    static const uint16_t types[] = {MR_MESSAGE_TOPIC_CREATE, MR_MESSAGE_TOPIC_CREATE, MR_MESSAGE_TOPIC_ALTER, MR_MESSAGE_TOPIC_PARTITIONS,
                                     MR_MESSAGE_TOPIC_DELETE};
    struct client *asked = &client[n];
    *asked = (struct client){.waits = true, .type = types[mr_random_below(&dice, MR_COUNT_OF(types))], .refusals = failed_of[n]};
    if (model[n].unsure)
        asked->type = MR_MESSAGE_TOPIC_CREATE;
    snprintf(asked->change.topic, sizeof asked->change.topic, "%s", name_of(n));
    must(mr_uuid_random(&asked->change.change) == 0);
    if (asked->type == MR_MESSAGE_TOPIC_CREATE || asked->type == MR_MESSAGE_TOPIC_PARTITIONS)
        asked->change.partition_count = 1 + (uint32_t)mr_random_below(&dice, 20);
    if (asked->type == MR_MESSAGE_TOPIC_ALTER)
        snprintf(asked->change.config, sizeof asked->change.config, mr_random_chance(&dice, 1, 2) ? "retention.bytes=%lluMiB\n" : "segment.bytes=%lluMiB\n",
                 (unsigned long long)(2 + mr_random_below(&dice, 100)));
}

static void ask(uint32_t n)
{
    struct mr_control_ask message = {.change = client[n].change};
    client[n].asked = true;
    client[n].ticket = ++next_ticket;
    message.change.header.type = client[n].type;
    count.asked++;
    to_control(&message, sizeof message, MR_CONTROL_ASK, client[n].ticket);
    if (mr_random_chance(&dice, 3, 4))
        step_control();
}

static void expect_empty(const char *path)
{
    struct mr_coord_request request = {.tag = 1, .kind = MR_COORD_CHILDREN, .path = path};
    struct mr_coord_reply reply;
    must(mr_coord_submit(coord, &request) == 0 && mr_coord_poll(coord, &reply, 1) == 1 && reply.result == 0);
    must(reply.name_count == 0);
}

/* Nobody dies any more, and everybody finishes. */
static void settle_and_check(void)
{
    for (uint32_t i = 0;; i++) {
        must(i < 100000);
        if (!linked)
            link_both();
        step_control();
        bool busy = apply_one();
        busy |= read_mail();
        for (uint32_t n = 0; n < NAMES; n++) {
            if (model[n].unsure && !client[n].waits)
                think_of_something(n);
            busy |= client[n].waits;
            if (client[n].waits && !client[n].asked)
                ask(n);
        }
        if (!busy)
            break;
    }
    for (uint32_t n = 0; n < NAMES; n++) {
        must(plane[n].exists == model[n].exists);
        if (!model[n].exists)
            continue;
        must(plane[n].partitions == model[n].partitions);
        must(strcmp(plane[n].config, model[n].config) == 0);
    }
    loses_store = mr_random_chance(&dice, 1, 2);
    kill_control(); /* what it has is what is in the store, or what the data plane has, if that is lost */
    loses_store = false;
    link_both();
    while (apply_one() || read_mail())
        ;
    step_control();
    for (uint32_t n = 0, left = 0; n < NAMES; n++) {
        must(plane[n].exists == model[n].exists && plane[n].partitions * plane[n].exists == model[n].partitions * model[n].exists);
        left += model[n].exists;
        must(n < NAMES - 1 || mr_topics_count(control) == left);
    }
    expect_empty("/millrace/deleted");
}

int main(void)
{
    static struct mr_config origin;
    const char *level = getenv("MR_TEST_LEVEL");
    uint32_t steps = level != NULL && strcmp(level, "full") == 0 ? 400000 : 20000;
    char folder[] = "/dev/shm/millrace-topics-XXXXXX", command[80];
    struct millrace_error err;

    mr_logging_init("topics", MR_LOGGING_INFO, MR_LOGGING_TEXT);
    mr_logging_set_level(getenv("MR_VERBOSE") != NULL ? MR_LOGGING_INFO : (enum mr_logging_level)-1); /* or all that is refused */
    mr_random_init(&dice, property_seed(), 0);
    must(mkdtemp(folder) != NULL);
    snprintf(store_path, sizeof store_path, "%s/store", folder);
    must(mr_node_config_load(&config, &origin, NULL, NULL, 0, &err) == 0);
    start_control();
    for (uint32_t step = 1; step <= steps; step++) {
        uint32_t n = (uint32_t)mr_random_below(&dice, NAMES);
        switch (mr_random_below(&dice, 8)) {
        case 0:
            if (mr_random_chance(&dice, 1, step % 1000 < 500 ? 40 : 4)) /* a storm now and then: some things happen only between two deaths */
                mr_random_chance(&dice, 1, 2) ? kill_control() : kill_plane();
            break;
        case 1:
            if (!linked)
                link_both();
            break;
        case 2:
        case 3:
            apply_one();
            break;
        case 4:
            read_mail();
            break;
        case 5:
            step_control();
            break;
        default:
            if (!client[n].waits)
                think_of_something(n);
            else if (linked && !client[n].asked)
                ask(n);
        }
        if (step % 1000 == 0)
            settle_and_check();
    }
    mr_topics_free(control);
    mr_coord_release(coord);
    mr_desired_close(&table);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    must(system(command) == 0);
    printf("asked %llu times: %llu done, %llu refused, %llu to be asked again; %llu refused by the data plane; deaths: %llu of control, %llu of the data "
           "plane; %llu blocks of ids\n", (unsigned long long)count.asked, (unsigned long long)count.done, (unsigned long long)count.refused,
           (unsigned long long)count.again, (unsigned long long)count.failures, (unsigned long long)count.control_deaths,
           (unsigned long long)count.plane_deaths, (unsigned long long)count.ids);
    must(count.done > steps / 100 && count.refused > steps / 200 && count.failures > 0 && count.control_deaths > 20 && count.plane_deaths > 0);
    return 0;
}
