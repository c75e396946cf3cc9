#include "answer.h"

#include <string.h>

#include "metrics.h"

struct answer answer_read(const struct row *row)
{
	static const char *const errors[] = {"unknown_type", "timeout", "init_failed"};
	struct answer answer = {0};
	const char *text = row_text(row, 0, &answer.len);
	if (*text == '{')
		answer.message = text;
	for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
		size_t len = strlen(errors[i]);
		if (strncmp(text, errors[i], len) == 0 && (!text[len] || text[len] == ' ')) {
			answer.error = errors[i];
			answer.message = text[len] ? text + len + 1 : NULL;
		}
	}
	if (answer.error && strcmp(answer.error, "timeout") == 0)
		metric_add_labelled(METRIC_TIMEOUTS, "init", 1);
	return answer;
}
