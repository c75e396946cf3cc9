#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc.h"
#include "log.h"

static char path[] = "/tmp/pgcast-log-XXXXXX";
static int kept_stderr;
static char logged[4096];

/* Redirects stderr to a file that the logger may take for the journal. */
static int capture(void **state)
{
	(void)state;
	strcpy(path + strlen(path) - 6, "XXXXXX");
	int fd = mkstemp(path);
	kept_stderr = dup(STDERR_FILENO);
	dup2(fd, STDERR_FILENO);
	close(fd);
	unsetenv("JOURNAL_STREAM");
	return 0;
}

static int release(void **state)
{
	(void)state;
	log_configure(LOG_LEVEL_INFO, LOG_FORMAT_AUTO);
	if (kept_stderr >= 0) {
		dup2(kept_stderr, STDERR_FILENO);
		close(kept_stderr);
	}
	unlink(path);
	kept_stderr = -1;
	return 0;
}

/* Returns all output and restores stderr, so that failures are printed. */
static const char *read_log(void)
{
	memset(logged, 0, sizeof logged);
	assert_true(pread(STDERR_FILENO, logged, sizeof logged - 1, 0) >= 0);
	dup2(kept_stderr, STDERR_FILENO);
	close(kept_stderr);
	kept_stderr = -1;
	return logged;
}

static void test_log_text_format(void **state)
{
	(void)state;
	log_warning("the answer is %d", 42);
	const char *line = read_log();
	assert_int_equal(line[10], 'T');
	assert_string_equal(strchr(line, 'Z'), "Z warning: the answer is 42\n");
}

static void test_log_min_level(void **state)
{
	(void)state;
	log_configure(LOG_LEVEL_WARNING, LOG_FORMAT_TEXT);
	log_debug("no");
	log_info("no");
	log_error("yes");
	const char *line = read_log();
	assert_null(strstr(line, "no"));
	assert_non_null(strstr(line, "error: yes\n"));
}

static void test_log_line_breaks_are_joined(void **state)
{
	(void)state;
	log_info("%s", "connection failed\n\tis it running?\r\nbye\033[2J\n");
	assert_non_null(strstr(read_log(), " info: connection failed; is it running?; bye?[2J\n"));
}

static void test_log_json_is_escaped(void **state)
{
	(void)state;
	log_configure(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
	log_info("%s", "a \"b\" \\ \xFF");
	assert_non_null(strstr(read_log(),
		"\",\"level\":\"info\",\"message\":\"a \\\"b\\\" \\\\ \xEF\xBF\xBD\"}\n"));
}

static void set_journal_stream(unsigned long inode_offset)
{
	struct stat st;
	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	char *stream = xasprintf(
		"%lu:%lu", (unsigned long)st.st_dev, (unsigned long)st.st_ino + inode_offset);
	setenv("JOURNAL_STREAM", stream, 1);
	free(stream);
}

static void test_log_journald_priorities(void **state)
{
	(void)state;
	set_journal_stream(0);
	log_error("gone");
	log_info("back");
	assert_string_equal(read_log(), "<3>gone\n<6>back\n");
}

static void test_log_text_if_stderr_is_not_journal(void **state)
{
	(void)state;
	set_journal_stream(1);
	log_info("hello");
	assert_non_null(strstr(read_log(), "Z info: hello\n"));
}

#define LOG_TEST(name) cmocka_unit_test_setup_teardown(name, capture, release)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOG_TEST(test_log_text_format),
		LOG_TEST(test_log_min_level),
		LOG_TEST(test_log_line_breaks_are_joined),
		LOG_TEST(test_log_json_is_escaped),
		LOG_TEST(test_log_journald_priorities),
		LOG_TEST(test_log_text_if_stderr_is_not_journal),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
