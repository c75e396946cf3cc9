-- Placeholders and constants of the generated functions.
begin;
select plan(6);

select is(pgcast.fill('a @b@@c@ d', '{"b": "@c@", "c": 7, "unused": 1}'), 'a @c@7 d',
	'placeholders are replaced once, values are not searched');
select throws_ok($$select pgcast.fill('@b@', '{"c": "x"}')$$, 'P0001', 'pgcast: placeholder @b@ has no value',
	'an unknown placeholder is refused');
select throws_ok($$select pgcast.fill('@b@', '{"b": null}')$$, 'P0001', 'pgcast: placeholder @b@ has no value',
	'a placeholder without a value is refused');
select throws_ok($$select pgcast.fill('@b@ @', '{"b": "x"}')$$, 'P0001',
	'pgcast: a template has a placeholder without an end', 'a placeholder without an end is refused');
select is(pgcast.constant('max_uid_bytes'), 255, 'a constant');
select throws_ok($$select pgcast.constant('max')$$, 'P0001', 'pgcast: unknown constant ''max''',
	'an unknown constant is refused');

select * from finish();
rollback;
