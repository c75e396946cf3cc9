/* The words of a setting and its enum come from one list, CHOICES_<setting>, of
 * X(CONSTANT, "word"). */
#pragma once

#define CHOICE_CONSTANT(constant, word) constant,
#define CHOICE_WORD(constant, word) word,
