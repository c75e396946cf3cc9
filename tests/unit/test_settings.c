#include "unit.h"

#include <stdio.h>
#include <unistd.h>

#include "alloc.h"
#include "settings.h"

static char file[64];

static int reset(void **state)
{
	(void)state;
	unlink(file);
	unsetenv("PGCAST_MAX_CLIENTS");
	unsetenv("PGCAST_DATABASE");
	return 0;
}

static void write_file(const char *text)
{
	FILE *out = fopen(file, "w");
	assert_non_null(out);
	fputs(text, out);
	fclose(out);
}

/* Loads the file with that text (NULL: none) and one --set (NULL: none). */
static struct settings *load(const char *text, const char *set)
{
	struct settings *settings;
	const char *sets[] = {set, NULL};
	char *error;
	if (text)
		write_file(text);
	if (!settings_load(&settings, text ? file : NULL, sets, &error))
		fail_msg("%s", error);
	assert_null(error);
	return settings;
}

/* Expects one line as the error, in which FILE stands for the file's name. */
static void refuse(const char *text, const char *set, const char *want)
{
	struct settings *settings;
	const char *sets[] = {set, NULL};
	char *error;
	if (text)
		write_file(text);
	if (settings_load(&settings, text ? file : NULL, sets, &error))
		fail_msg("accepted: %s", text ? text : set);
	assert_null(settings);
	char *line = strncmp(error, file, strlen(file)) == 0
			     ? xasprintf("FILE%s", error + strlen(file))
			     : xstrdup(error);
	assert_string_equal(line, want);
	assert_null(strchr(line, '\n'));
	free(line);
	free(error);
}

static void print_masked(const char *conninfo, FILE *out)
{
	fputs(*conninfo ? "masked" : "", out);
}

static char *print_all(const struct settings *settings)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	assert_non_null(out);
	settings_print(settings, out, print_masked);
	fclose(out);
	return text;
}

static void assert_printed(const struct settings *settings, const char *want)
{
	char *text = print_all(settings);
	if (!strstr(text, want))
		fail_msg("no \"%s\" in: %s", want, text);
	free(text);
}

static void test_settings_defaults(void **state)
{
	(void)state;
	struct settings *settings = load(NULL, NULL);
	assert_string_equal(settings->database, "");
	assert_int_equal(settings->source, SOURCE_AUTO);
	assert_int_equal(settings->poll_interval, 20);
	assert_string_equal(settings->listen, "127.0.0.1:8081");
	assert_string_equal(settings->admin_listen, "127.0.0.1:8082");
	assert_int_equal(settings->auth, AUTH_TRUST);
	assert_false(settings->trust_remote);
	assert_int_equal(settings->max_clients, 100000);
	assert_int_equal(settings->max_clients_per_uid, 64);
	assert_int_equal(settings->max_message, 16 * 1024);
	assert_int_equal(settings->message_rate, 20);
	assert_int_equal(settings->send_buffer, 256 * 1024);
	assert_int_equal(settings->slow_timeout, 60000);
	assert_int_equal(settings->ping_interval, 25000);
	assert_int_equal(settings->ping_timeout, 10000);
	assert_int_equal(settings->drain_time, 5000);
	assert_string_equal(settings->www, PGCAST_WWW);
	assert_int_equal(settings->log_level, LOG_LEVEL_INFO);
	assert_int_equal(settings->log_format, LOG_FORMAT_AUTO);
	settings_destroy(&settings);
	assert_null(settings);
	settings_destroy(&settings);
}

static void test_settings_file_syntax(void **state)
{
	(void)state;
	struct settings *settings = load("# a comment\n"
					 "\n"
					 "database = 'dbname=app user=''x'''   # another\n"
					 "  max_clients 10\r\n"
					 "poll_interval=1min\n"
					 "log_format = json# no space\n"
					 "trust_remote = yes\n"
					 "channels = ''\n"
					 "max_clients = 11", /* the last one counts, no line end */
		NULL);
	assert_string_equal(settings->database, "dbname=app user='x'");
	assert_int_equal(settings->max_clients, 11);
	assert_int_equal(settings->poll_interval, 60000);
	assert_int_equal(settings->log_format, LOG_FORMAT_JSON);
	assert_true(settings->trust_remote);
	settings_destroy(&settings);
}

static void test_settings_precedence(void **state)
{
	(void)state;
	struct settings *settings = load("max_clients = 1\nmax_message = 1kB\n", NULL);
	assert_int_equal(settings->max_clients, 1);
	settings_destroy(&settings);

	setenv("PGCAST_MAX_CLIENTS", "2", 1);
	settings = load("max_clients = 1\nmax_message = 1kB\n", NULL);
	assert_int_equal(settings->max_clients, 2);
	assert_int_equal(settings->max_message, 1024);
	assert_printed(settings, "max_clients = 2  # environment PGCAST_MAX_CLIENTS\n");
	settings_destroy(&settings);

	settings = load("max_clients = 1\nmax_message = 1kB\n", "max_clients=3");
	assert_int_equal(settings->max_clients, 3);
	assert_printed(settings, "max_clients = 3  # --set\n");
	settings_destroy(&settings);
}

static void test_settings_value_from_file(void **state)
{
	(void)state;
	write_file("host=db\n\n");
	char *set = xasprintf("database=@%s", file);
	struct settings *settings = load(NULL, set);
	assert_string_equal(settings->database, "host=db");
	char *want = xasprintf("database = '@%s'  # --set\n", file);
	assert_printed(settings, want);
	settings_destroy(&settings);
	free(want);
	free(set);
	refuse(NULL, "database=@/nonexistent/file",
		"--set: database: could not read /nonexistent/file: No such file or directory");
}

static void test_settings_unknown_name(void **state)
{
	(void)state;
	refuse("\nmax_client = 5\n", NULL,
		"FILE:2: unknown setting \"max_client\" (did you mean \"max_clients\"?)");
	refuse(NULL, "Listen=127.0.0.1:1",
		"--set: unknown setting \"Listen\" (did you mean \"listen\"?)");
	refuse(NULL, "zzz=1", "--set: unknown setting \"zzz\" (see --help)");
}

static void test_settings_invalid_value(void **state)
{
	(void)state;
	refuse("max_clients = many\n", NULL, "FILE:1: max_clients = many: must be a whole number");
	refuse(NULL, "max_clients=0", "--set: max_clients = 0: must be between 1 and 10000000");
	refuse(NULL, "max_clients=-1", "--set: max_clients = -1: must be a whole number");
	refuse(NULL, "max_clients=", "--set: max_clients: must be a whole number");
	refuse(NULL, "max_message=1KB",
		"--set: max_message = 1KB: must be a size such as 16kB (B, kB, MB, GB)");
	refuse(NULL, "max_message=1GB", "--set: max_message = 1GB: must be between 128B and 64MB");
	refuse(NULL, "max_message=99999999999GB",
		"--set: max_message = 99999999999GB: must be a size such as 16kB (B, kB, MB, GB)");
	refuse(NULL, "ping_interval=25",
		"--set: ping_interval = 25: must be a time such as 5s (ms, s, min, h, d)");
	refuse(NULL, "message_rate=20", "--set: message_rate = 20: must be a rate such as 20/s");
	refuse(NULL, "trust_remote=maybe", "--set: trust_remote = maybe: must be on or off");
	refuse(NULL, "source=notif", "--set: source = notif: must be one of: auto, notify, poll");
	setenv("PGCAST_MAX_CLIENTS", "x", 1);
	refuse(NULL, NULL,
		"environment PGCAST_MAX_CLIENTS: max_clients = x: must be a whole number");
}

static void test_settings_malformed_line(void **state)
{
	(void)state;
	refuse("= 5\n", NULL, "FILE:1: expected key = value");
	refuse("max_clients: 5\n", NULL, "FILE:1: expected key = value");
	refuse("listen =\n", NULL, "FILE:1: missing value (write '' for an empty one)");
	refuse("listen = 'a\n", NULL, "FILE:1: unterminated quoted value");
	refuse("database = host=a dbname=b\n", NULL,
		"FILE:1: more than one value (put a value that contains spaces in 'quotes')");
	refuse(NULL, "listen", "--set listen: expected KEY=VALUE");
}

static void test_settings_unreadable_file(void **state)
{
	(void)state;
	struct settings *settings;
	char *error;
	assert_false(settings_load(&settings, "/nonexistent", NULL, &error));
	assert_string_equal(error, "could not read /nonexistent: No such file or directory");
	free(error);
	assert_false(settings_load(&settings, "/tmp", NULL, &error));
	assert_string_equal(error, "could not read /tmp: Is a directory");
	free(error);
}

#define TRUST_REFUSED                                                                              \
	"--set: listen: auth = trust would let other machines read every uid (listen on "          \
	"127.0.0.1 or set trust_remote = on)"

static void test_settings_trust_requires_local_address(void **state)
{
	(void)state;
	const char *open[] = {"listen=0.0.0.0:1", "listen=*:1", "listen=:1", "listen=[::]:1",
		"listen=192.0.2.1:1", "listen=example.com:1", "listen=[::ffff:192.0.2.1]:1",
		"listen=127.0.0.1:1, 192.0.2.1:1", "listen=127.0.0.1.example.com:1"};
	const char *local[] = {"listen=127.0.0.1:0", "listen=127.3.2.1:1", "listen=[::1]:1",
		"listen=localhost:1", "listen=unix:/run/pgcast/s",
		"listen=127.0.0.1:1, unix:/x,[::1]:1", "listen="};
	for (size_t i = 0; i < sizeof open / sizeof *open; i++) {
		refuse(NULL, open[i], TRUST_REFUSED);
		struct settings *settings = load("trust_remote = on\n", open[i]);
		settings_destroy(&settings);
	}
	for (size_t i = 0; i < sizeof local / sizeof *local; i++) {
		struct settings *settings = load(NULL, local[i]);
		settings_destroy(&settings);
	}
}

static void test_settings_malformed_address(void **state)
{
	(void)state;
	refuse(NULL, "listen=8081", "--set: listen: must be HOST:PORT, [V6]:PORT or unix:/PATH");
	refuse(NULL, "listen=localhost:http",
		"--set: listen: the port must be a number from 0 to 65535");
	refuse(NULL, "admin_listen=localhost:65536",
		"--set: admin_listen: the port must be a number from 0 to 65535");
	refuse(NULL, "listen=::1:8081",
		"--set: listen: an IPv6 address must be in brackets, as in [::1]:8081");
	refuse(NULL, "listen=unix:x", "--set: listen: the path of a unix socket must start with /");
}

static void test_settings_print_masks_secrets(void **state)
{
	(void)state;
	struct settings *settings = load(NULL, "database=secret");
	assert_printed(settings, "database = 'masked'  # --set");
	settings_destroy(&settings);
	settings = load(NULL, NULL);
	assert_printed(settings, "database = ''  # default");
	settings_destroy(&settings);
}

/* --print-config > file; pgcast -c file */
static void test_settings_print_can_be_loaded(void **state)
{
	(void)state;
	struct settings *settings = load("channels = 'a, ''b'' #c'\nslow_timeout = 3min\n", NULL);
	char *text = print_all(settings);
	struct settings *again = load(text, NULL);
	assert_string_equal(again->channels, "a, 'b' #c");
	assert_int_equal(again->slow_timeout, 180000);
	settings_destroy(&again);
	settings_destroy(&settings);
	free(text);
}

/* Uncomments every line `#key = value` of the example file. */
static void test_settings_example_is_defaults(void **state)
{
	(void)state;
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	settings_example(out);
	fclose(out);
	size_t set = 0;
	for (char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (line[0] == '#' && line[1] >= 'a' && line[1] <= 'z') {
			line[0] = ' ';
			set++;
		}
		assert_true(strcspn(line, "\n") <= 120);
	}
	size_t rows = 0;
	struct settings *defaults = load(NULL, NULL), *example = load(text, NULL);
	char *want = print_all(defaults);
	for (const char *c = want; *c; c++)
		rows += *c == '\n';
	assert_int_equal(set, rows);
	assert_string_equal(example->listen, defaults->listen);
	assert_int_equal(example->send_buffer, defaults->send_buffer);
	free(want);
	free(text);
	settings_destroy(&defaults);
	settings_destroy(&example);
}

int main(void)
{
	snprintf(file, sizeof file, "/tmp/pgcast-settings-%ld", (long)getpid());
#define TEST(name) cmocka_unit_test_setup_teardown(name, reset, reset)
	const struct CMUnitTest tests[] = {
		TEST(test_settings_defaults),
		TEST(test_settings_file_syntax),
		TEST(test_settings_precedence),
		TEST(test_settings_value_from_file),
		TEST(test_settings_unknown_name),
		TEST(test_settings_invalid_value),
		TEST(test_settings_malformed_line),
		TEST(test_settings_unreadable_file),
		TEST(test_settings_trust_requires_local_address),
		TEST(test_settings_malformed_address),
		TEST(test_settings_print_masks_secrets),
		TEST(test_settings_print_can_be_loaded),
		TEST(test_settings_example_is_defaults),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
