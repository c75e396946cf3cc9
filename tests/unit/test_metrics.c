#include "unit.h"

#include <stdbool.h>

#include "metrics.h"

static const struct {
	const char *kind, *name, *help;
} rows[] = {
#define METRIC(id, kind, name, help) {#kind, name, help},
#define LABELLED(id, kind, name, label, help) {#kind, name, help},
#include "metrics.def"
#undef METRIC
#undef LABELLED
};

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), n = strlen(end);
	return len >= n && strcmp(text + len - n, end) == 0;
}

static void test_metrics_render(void **state)
{
	(void)state;
	metric_set(METRIC_CLIENTS, 3);
	metric_add(METRIC_EVENTS, UINT64_C(5000000000));
	metric_add(METRIC_EVENTS, 1);
	metric_set(METRIC_QUEUE_USAGE, 1250);
	char *text = metrics_render();
	assert_non_null(strstr(text, "# HELP pgcast_clients Connected clients.\n"
				     "# TYPE pgcast_clients gauge\npgcast_clients 3\n"));
	assert_non_null(strstr(
		text, "# TYPE pgcast_events_total counter\npgcast_events_total 5000000001\n"));
	assert_non_null(strstr(text, "# TYPE pgcast_notification_queue_usage_ratio gauge\n"
				     "pgcast_notification_queue_usage_ratio 0.001250\n"));
	assert_true(ends_with(text, "\n"));
	free(text);
}

/* The rules that promtool checks. */
static void test_metrics_naming_conventions(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		bool counter = strcmp(rows[i].kind, "counter") == 0;
		assert_int_equal(ends_with(rows[i].name, "_total"), counter);
		assert_int_equal(
			ends_with(rows[i].name, "_ratio"), strcmp(rows[i].kind, "ratio") == 0);
		assert_int_equal(strspn(rows[i].name, "abcdefghijklmnopqrstuvwxyz0123456789_"),
			strlen(rows[i].name));
		assert_true(ends_with(rows[i].help, "."));
		assert_null(strpbrk(rows[i].help, "\n\\"));
		assert_false(ends_with(rows[i].name, "_ms") || strstr(rows[i].name, "milli"));
	}
}

static void test_metrics_unique_names(void **state)
{
	(void)state;
	for (size_t i = 0; i < METRIC_COUNT; i++) {
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(rows[i].name, rows[j].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_metrics_render),
		cmocka_unit_test(test_metrics_naming_conventions),
		cmocka_unit_test(test_metrics_unique_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
