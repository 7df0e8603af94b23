// SPDX-License-Identifier: Apache-2.0
// Publish ticks and read them back in C++: what a handle owns is released by its destructor, errors are exceptions, records are read in place.
// c++ -std=c++17 ticks.cpp $(pkg-config --cflags --libs millrace) -o ticks; millrace topic create ticks; ./ticks ticks 1000
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>

#include <millrace/millrace.h>

namespace {

struct Tick {
    std::uint64_t number;
    std::uint64_t time_ns;
    double price;
};

struct Detach {
    void operator()(millrace_client *client) const { millrace_detach(client); }
};
struct CloseProducer {
    void operator()(millrace_producer *producer) const { millrace_producer_close(producer); }
};
struct CloseConsumer {
    void operator()(millrace_consumer *consumer) const { millrace_consumer_close(consumer); }
};
using Client = std::unique_ptr<millrace_client, Detach>;
using Producer = std::unique_ptr<millrace_producer, CloseProducer>;
using Consumer = std::unique_ptr<millrace_consumer, CloseConsumer>;

void check(int rc, const char *what)
{
    if (rc < 0)
        throw std::runtime_error(std::string(what) + ": " + std::strerror(-rc));
}

void check(int rc, const millrace_error &err)
{
    if (rc < 0)
        throw std::runtime_error(err.text);
}

std::uint64_t now_ns()
{
    using namespace std::chrono;
    return static_cast<std::uint64_t>(duration_cast<nanoseconds>(system_clock::now().time_since_epoch()).count());
}

// Returns how many records were refused.
std::uint64_t take_acks(millrace_producer *producer)
{
    millrace_ack acks[64];
    std::uint64_t failed = 0;
    int count = millrace_producer_poll_acks(producer, acks, 64);
    check(count, "acks");
    for (int i = 0; i < count; i++)
        failed += acks[i].error != 0 ? acks[i].count : 0;
    return failed;
}

void publish(millrace_producer *producer, std::uint64_t count)
{
    std::uint64_t failed = 0;
    for (std::uint64_t number = 0; number < count; number++) {
        millrace_slot slot{};
        int rc;
        while ((rc = millrace_producer_claim(producer, sizeof(Tick), nullptr, &slot)) == -EAGAIN)
            failed += take_acks(producer); // no room until the broker has acknowledged some
        check(rc, "claim");
        *static_cast<Tick *>(slot.value) = Tick{number, now_ns(), 100 + static_cast<double>(number % 7)};
        check(millrace_producer_commit(producer, &slot, 1), "commit");
    }
    int rc = millrace_producer_flush(producer, 10000);
    failed += take_acks(producer);
    check(rc == -EIO ? 0 : rc, "flush");
    if (failed > 0)
        throw std::runtime_error(std::to_string(failed) + " records were refused");
}

std::uint64_t read(millrace_consumer *consumer, std::uint64_t count)
{
    millrace_record records[64];
    std::uint64_t seen = 0;
    while (seen < count) {
        int got = millrace_consumer_poll(consumer, records, 64, 10000);
        check(got, "poll");
        if (got == 0)
            break;
        for (int i = 0; i < got; i++) {
            Tick tick;
            if (records[i].value_bytes != sizeof tick)
                continue; // somebody else's
            std::memcpy(&tick, records[i].value, sizeof tick); // the log is not aligned
            if (seen++ < 3)
                std::printf("%d %llu: %llu %.2f\n", records[i].partition, static_cast<unsigned long long>(records[i].offset),
                            static_cast<unsigned long long>(tick.number), tick.price);
        }
    }
    return seen;
}

} // namespace

int main(int argc, char **argv)
try {
    const char *topic = argc > 1 ? argv[1] : "ticks";
    std::uint64_t count = argc > 2 ? std::strtoull(argv[2], nullptr, 0) : 1000;
    millrace_error err;
    millrace_client *client = nullptr;
    millrace_producer *producer = nullptr;
    millrace_consumer *consumer = nullptr;

    check(millrace_attach(&client, nullptr, nullptr, &err), err);
    Client owns_client(client);
    check(millrace_consumer_open(&consumer, client, topic, nullptr, &err), err); // from the end: what is published from now on
    Consumer owns_consumer(consumer);
    check(millrace_producer_open(&producer, client, topic, nullptr, &err), err);
    Producer owns_producer(producer);

    publish(producer, count);
    std::uint64_t seen = read(consumer, count);
    std::printf("published %llu, read back %llu\n", static_cast<unsigned long long>(count), static_cast<unsigned long long>(seen));
    return seen == count ? 0 : 1;
} catch (const std::exception &error) {
    std::fprintf(stderr, "ticks: %s\n", error.what());
    return 1;
}
