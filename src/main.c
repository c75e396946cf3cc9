/* The command line and exit codes. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "alloc.h"
#include "conninfo.h"
#include "daemon.h"
#include "settings.h"

enum { EXIT_USAGE = 64, EXIT_SETTINGS = 78 };

enum action { RUN, CHECK, PRINT_CONFIG };

static void help(FILE *out)
{
	fputs("pgcast pushes every change of watched PostgreSQL tables to the browsers of the\n"
	      "user that it belongs to.\n\n"
	      "Usage: pgcast [-c FILE] [--set KEY=VALUE]...\n\n"
	      "  -c, --config FILE    settings, key = value as in postgresql.conf\n"
	      "      --set KEY=VALUE  one setting; goes before environment and file\n"
	      "      --check          check settings, connection, schema and rights, and exit\n"
	      "      --print-config   print every setting and where it came from, and exit\n"
	      "      --example-config print a file with all defaults, and exit\n"
	      "      --version, --help\n\n"
	      "Settings (environment: PGCAST_KEY):\n",
		out);
	settings_help(out);
}

static int act(enum action action, const char *file, const char *const *sets)
{
	struct settings *settings;
	char *error;
	if (!settings_load(&settings, file, sets, &error)) {
		fprintf(stderr, "pgcast: %s\n", error);
		free(error);
		return EXIT_SETTINGS;
	}
	int status = EXIT_SUCCESS;
	if (action == PRINT_CONFIG)
		settings_print(settings, stdout, conninfo_print_masked);
	else
		status = action == CHECK ? daemon_check(settings) : daemon_run(settings);
	if (action == CHECK && status == EXIT_SUCCESS)
		puts("settings, connection, schema and rights are fine");
	settings_destroy(&settings);
	return status;
}

int main(int argc, char **argv)
{
	enum { SET = 256, CHECK_ONLY, PRINT, EXAMPLE, VERSION, HELP };
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
		{"set", required_argument, NULL, SET}, {"check", no_argument, NULL, CHECK_ONLY},
		{"print-config", no_argument, NULL, PRINT},
		{"example-config", no_argument, NULL, EXAMPLE},
		{"version", no_argument, NULL, VERSION}, {"help", no_argument, NULL, HELP}, {0}};
	const char **sets = xcalloc((size_t)argc + 1, sizeof(*sets));
	size_t n_sets = 0;
	const char *file = NULL;
	enum action action = RUN;
	int option, status = -1;
	while (status < 0 && (option = getopt_long(argc, argv, "c:", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			file = optarg;
			break;
		case SET:
			sets[n_sets++] = optarg;
			break;
		case CHECK_ONLY:
			action = CHECK;
			break;
		case PRINT:
			action = PRINT_CONFIG;
			break;
		case EXAMPLE:
			settings_example(stdout);
			status = EXIT_SUCCESS;
			break;
		case VERSION:
			puts("pgcast " PGCAST_VERSION);
			status = EXIT_SUCCESS;
			break;
		case HELP:
			help(stdout);
			status = EXIT_SUCCESS;
			break;
		default:
			status = EXIT_USAGE;
		}
	}
	if (status < 0 && optind < argc) {
		fprintf(stderr, "pgcast: unexpected argument: %s\n", argv[optind]);
		status = EXIT_USAGE;
	}
	if (status < 0)
		status = act(action, file, sets);
	free(sets);
	return status;
}
