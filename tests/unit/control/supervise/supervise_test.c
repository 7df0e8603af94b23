/* SPDX-License-Identifier: Apache-2.0 */
/* The real supervisor around a shell script that dies on command: restarted at once, stopped by one signal, killed by two. */
#include "control/supervise/supervise.h"
#include "tests/support/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64];

/* Run the supervisor over `script`, and another unless NULL, in a process of its own. */
static pid_t supervise_both(const char *script, const char *other)
{
    const char *argv[] = {"/bin/sh", "-c", script, NULL}, *other_argv[] = {"/bin/sh", "-c", other, NULL};
    struct millrace_error err = {0};
    int asked;

    fflush(NULL);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    if (chdir(folder) != 0)
        _exit(100);
    int null = open("/dev/null", O_WRONLY);
    dup2(null, STDERR_FILENO);
    const struct mr_supervise_program programs[] = {{"the script", argv}, {"the other", other_argv}};
    int rc = mr_supervise_run(programs, other == NULL ? 1 : 2, &asked, &err);
    _exit(asked != 0 ? 200 : rc < 0 ? 101 : rc);
}

static pid_t supervise(const char *script)
{
    return supervise_both(script, NULL);
}

static int finish(pid_t pid)
{
    int status;

    for (int i = 0; i < 500; i++) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        usleep(10000);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    fail_msg("the supervisor did not end within 5 s");
    return -1;
}

static void wait_for(const char *name, off_t bytes)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    for (int i = 0; i < 500; i++) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
        if (fd >= 0)
            close(fd);
        if (size >= bytes)
            return;
        usleep(10000);
    }
    fail_msg("%s did not reach %lld bytes within 5 s", path, (long long)bytes);
}

static int make_folder(void **state)
{
    snprintf(folder, sizeof folder, "/tmp/mr_supervise_XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static void a_killed_child_is_started_again_at_once(void **state)
{
    pid_t pid = supervise("echo x >>starts; [ $(wc -l <starts) -ge 3 ] && exit 0; kill -9 $$");

    assert_int_equal(finish(pid), 0);
    wait_for("starts", 6);
}

static void a_refusal_to_start_is_not_tried_again(void **state)
{
    pid_t pid = supervise("echo x >>starts; exit 1");

    assert_int_equal(finish(pid), 1);
    wait_for("starts", 2);
}

static void a_stop_is_handed_on_once_and_waited_for(void **state)
{
    pid_t pid = supervise("trap 'echo term >>terms; exit 0' TERM; echo x >>starts; while :; do sleep 0.05; done");

    wait_for("starts", 2);
    kill(pid, SIGTERM);
    assert_int_equal(finish(pid), 200);
    wait_for("terms", 5);
}

static void a_second_signal_kills(void **state)
{
    pid_t pid = supervise("trap 'echo term >>terms' TERM; echo x >>starts; while :; do sleep 0.05; done");

    wait_for("starts", 2);
    kill(pid, SIGINT);
    wait_for("terms", 5);
    kill(pid, SIGINT);
    assert_int_equal(finish(pid), 200);
}

static void the_child_stops_when_its_supervisor_is_killed(void **state)
{
    pid_t pid = supervise("trap 'echo term >>terms; exit 0' TERM; echo x >>starts; while :; do sleep 0.05; done");

    wait_for("starts", 2);
    kill(pid, SIGKILL);
    assert_int_equal(finish(pid), 128 + SIGKILL);
    wait_for("terms", 5);
}

static void the_other_is_started_again_and_stops_after_the_first(void **state)
{
    pid_t pid = supervise_both("trap 'sleep 0.2; echo first >>ends; exit 0' TERM; while :; do sleep 0.05; done",
                               "trap 'echo other >>ends; exit 0' TERM; echo x >>starts; [ $(wc -l <starts) -lt 3 ] && kill -9 $$; "
                               "while :; do sleep 0.05; done");

    wait_for("starts", 6);
    usleep(100000); /* its trap is set before it says that it started, the first one's may not be yet */
    kill(pid, SIGTERM);
    assert_int_equal(finish(pid), 200);
    wait_for("ends", 12);
    char text[16] = "", path[128];
    snprintf(path, sizeof path, "%s/ends", folder);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof text, file));
    fclose(file);
    assert_string_equal(text, "first\n");
}

static void the_other_that_refuses_ends_all(void **state)
{
    pid_t pid = supervise_both("trap 'echo term >>terms; exit 0' TERM; while :; do sleep 0.05; done", "sleep 0.2; exit 3");

    assert_int_equal(finish(pid), 3);
    wait_for("terms", 5);
}

static void the_first_that_ends_ends_all(void **state)
{
    pid_t pid = supervise_both("sleep 0.2; exit 0", "trap 'echo term >>terms; exit 0' TERM; while :; do sleep 0.05; done");

    assert_int_equal(finish(pid), 0);
    wait_for("terms", 5);
}

static void pauses_begin_after_repeated_young_deaths_and_are_bounded(void **state)
{
    assert_int_equal(mr_supervise_pause_ms(0), 0);
    assert_int_equal(mr_supervise_pause_ms(MR_SUPERVISE_YOUNG_MAX - 1), 0);
    assert_int_equal(mr_supervise_pause_ms(MR_SUPERVISE_YOUNG_MAX), MR_SUPERVISE_PAUSE_MS);
    assert_int_equal(mr_supervise_pause_ms(MR_SUPERVISE_YOUNG_MAX + 1), 2 * MR_SUPERVISE_PAUSE_MS);
    assert_int_equal(mr_supervise_pause_ms(UINT32_MAX), MR_SUPERVISE_PAUSE_MS_MAX);
}

static void a_missing_program_names_where_it_was_looked_for(void **state)
{
    struct millrace_error err;
    char path[PATH_MAX];

    assert_int_equal(mr_supervise_find("no-such-program", path, &err), -ENOENT);
    assert_non_null(strstr(err.text, "no-such-program is neither beside millrace in '/"));
    assert_non_null(strstr(err.text, "ninja -C build"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_killed_child_is_started_again_at_once, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_refusal_to_start_is_not_tried_again, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(the_other_is_started_again_and_stops_after_the_first, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(the_other_that_refuses_ends_all, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(the_first_that_ends_ends_all, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_stop_is_handed_on_once_and_waited_for, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_second_signal_kills, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(the_child_stops_when_its_supervisor_is_killed, make_folder, remove_folder),
        cmocka_unit_test(pauses_begin_after_repeated_young_deaths_and_are_bounded),
        cmocka_unit_test(a_missing_program_names_where_it_was_looked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
