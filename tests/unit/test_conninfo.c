#include "unit.h"

#include <stdio.h>

#include "conninfo.h"

static const struct {
	const char *conninfo, *printed;
} cases[] = {
	{"", ""},
	{"app", "app"},
	{"host=db password=hunter2 user=u", "user=u password=******** host=db"},
	{"password = 'hunter2 \\' hunter2' host=db", "password=******** host=db"},
	{"host=db sslpassword=hunter2", "host=db sslpassword=********"},
	{"host=db passfile=/p options='-c a=b'", "passfile=/p host=db options='-c a=b'"},
	{"application_name='it''s' host=/tmp", "********"},
	{"application_name='it\\'s' host=/tmp", "host=/tmp application_name='it\\'s'"},
	{"postgres://u:hunter2@db:5432/app?sslmode=require",
		"user=u password=******** dbname=app host=db port=5432 sslmode=require"},
	{"postgres://u@db/app?user=v&password=hunter2",
		"user=v password=******** dbname=app host=db"},
	{"host=db PASSWORD=hunter2", "********"},
	{"postgresql://u:hun@hunter2@db/app?x=1", "********"},
};

static void test_conninfo_secrets_are_masked(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char *text = NULL;
		size_t len = 0;
		FILE *out = open_memstream(&text, &len);
		assert_non_null(out);
		conninfo_print_masked(cases[i].conninfo, out);
		fclose(out);
		assert_string_equal(text, cases[i].printed);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_conninfo_secrets_are_masked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
