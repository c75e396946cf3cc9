#include "unit.h"

#include <stdio.h>
#include <unistd.h>

#include "alloc.h"
#include "settings.h"

static char file[64];

static int no_file(void **state)
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

/* The one line that says why the load is refused, with the file's name as FILE. */
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

static char *printed(const struct settings *settings)
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
	char *text = printed(settings);
	if (!strstr(text, want))
		fail_msg("no \"%s\" in: %s", want, text);
	free(text);
}

static void defaults_are_the_contracts(void **state)
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

static void the_file_is_read_as_postgresql_conf_is(void **state)
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

static void the_command_line_wins_over_environment_and_file(void **state)
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

static void a_value_can_be_read_from_a_file(void **state)
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
		"--set: database can't read /nonexistent/file: No such file or directory");
}

static void an_unknown_name_is_told_the_nearest(void **state)
{
	(void)state;
	refuse("\nmax_client = 5\n", NULL,
		"FILE:2: there is no setting \"max_client\"; did you mean \"max_clients\"?");
	refuse(NULL, "Listen=127.0.0.1:1",
		"--set: there is no setting \"Listen\"; did you mean \"listen\"?");
	refuse(NULL, "zzz=1", "--set: there is no setting \"zzz\" (--help lists them)");
}

static void a_bad_value_is_told_what_can_be(void **state)
{
	(void)state;
	refuse("max_clients = many\n", NULL, "FILE:1: max_clients = many needs a whole number");
	refuse(NULL, "max_clients=0", "--set: max_clients = 0 can be 1 to 10000000");
	refuse(NULL, "max_clients=-1", "--set: max_clients = -1 needs a whole number");
	refuse(NULL, "max_clients=", "--set: max_clients needs a whole number");
	refuse(NULL, "max_message=1KB",
		"--set: max_message = 1KB needs a size such as 16kB (B, kB, MB, GB)");
	refuse(NULL, "max_message=1GB", "--set: max_message = 1GB can be 128B to 64MB");
	refuse(NULL, "max_message=99999999999GB",
		"--set: max_message = 99999999999GB needs a size such as 16kB (B, kB, MB, GB)");
	refuse(NULL, "ping_interval=25",
		"--set: ping_interval = 25 needs a time such as 5s (ms, s, min, h, d)");
	refuse(NULL, "message_rate=20", "--set: message_rate = 20 needs a rate such as 20/s");
	refuse(NULL, "trust_remote=maybe", "--set: trust_remote = maybe can be on or off");
	refuse(NULL, "source=notif", "--set: source = notif can be one of: auto notify poll");
	setenv("PGCAST_MAX_CLIENTS", "x", 1);
	refuse(NULL, NULL, "environment PGCAST_MAX_CLIENTS: max_clients = x needs a whole number");
}

static void a_malformed_line_is_refused(void **state)
{
	(void)state;
	refuse("= 5\n", NULL, "FILE:1: not of the form key = value");
	refuse("max_clients: 5\n", NULL, "FILE:1: not of the form key = value");
	refuse("listen =\n", NULL, "FILE:1: the value is missing (write '' for an empty one)");
	refuse("listen = 'a\n", NULL, "FILE:1: the closing quote is missing");
	refuse("database = host=a dbname=b\n", NULL,
		"FILE:1: more than one value (put one with spaces in it in 'quotes')");
	refuse(NULL, "listen", "--set listen: not of the form KEY=VALUE");
}

static void a_file_that_cannot_be_read_is_refused(void **state)
{
	(void)state;
	struct settings *settings;
	char *error;
	assert_false(settings_load(&settings, "/nonexistent", NULL, &error));
	assert_string_equal(error, "can't read /nonexistent: No such file or directory");
	free(error);
	assert_false(settings_load(&settings, "/tmp", NULL, &error));
	assert_string_equal(error, "can't read /tmp: Is a directory");
	free(error);
}

#define TRUST_REFUSED                                                                              \
	"--set: listen can be reached from other machines, and with auth = trust anybody there "   \
	"could read every uid: listen on 127.0.0.1, or set trust_remote = on"

static void trust_is_for_this_machine_only(void **state)
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

static void a_malformed_address_is_refused(void **state)
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

static void test_print_masks_secrets(void **state)
{
	(void)state;
	struct settings *settings = load(NULL, "database=secret");
	assert_printed(settings, "database = 'masked'  # --set");
	settings_destroy(&settings);
	settings = load(NULL, NULL);
	assert_printed(settings, "database = ''  # default");
	settings_destroy(&settings);
}

/* --print-config > file; pgcast -c file: the same settings again. */
static void what_is_printed_can_be_loaded(void **state)
{
	(void)state;
	struct settings *settings = load("channels = 'a, ''b'' #c'\nslow_timeout = 3min\n", NULL);
	char *text = printed(settings);
	struct settings *again = load(text, NULL);
	assert_string_equal(again->channels, "a, 'b' #c");
	assert_int_equal(again->slow_timeout, 180000);
	settings_destroy(&again);
	settings_destroy(&settings);
	free(text);
}

/* Every line `#key = value` of the example without its # is the default. */
static void the_example_file_is_the_defaults(void **state)
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
	char *want = printed(defaults);
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
#define TEST(name) cmocka_unit_test_setup_teardown(name, no_file, no_file)
	const struct CMUnitTest tests[] = {
		TEST(defaults_are_the_contracts),
		TEST(the_file_is_read_as_postgresql_conf_is),
		TEST(the_command_line_wins_over_environment_and_file),
		TEST(a_value_can_be_read_from_a_file),
		TEST(an_unknown_name_is_told_the_nearest),
		TEST(a_bad_value_is_told_what_can_be),
		TEST(a_malformed_line_is_refused),
		TEST(a_file_that_cannot_be_read_is_refused),
		TEST(trust_is_for_this_machine_only),
		TEST(a_malformed_address_is_refused),
		TEST(test_print_masks_secrets),
		TEST(what_is_printed_can_be_loaded),
		TEST(the_example_file_is_the_defaults),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
