-- pgcast.publish, reset_type, and the rights to call them.
begin;
select plan(13);

create temp view journal as select uid, broadcast, type, op, data::text from pgcast.event order by id;
select lives_ok($$select pgcast.publish('u1', 'chat', '{"a":  1}')$$, 'literals');
select lives_ok($$select pgcast.publish('u1', 'chat', '{"a": 1}'::jsonb)$$, 'jsonb');
select lives_ok($$select pgcast.publish(42, 'chat', jsonb_build_object('a', 1))$$, 'an integer as uid, and jsonb');
select lives_ok($$select pgcast.publish(42::bigint, 'chat', json_build_object('a', 1))$$, 'a bigint as uid, and json');
select lives_ok($$select pgcast.publish(42, 'chat', '[]')$$, 'an integer as uid, and a literal');
select lives_ok($$select pgcast.publish(null, 'chat', null)$$, 'NULLs');
select results_eq('select uid, broadcast, data from journal', $$values
	('u1', false, '{"a":  1}'), ('u1', false, '{"a": 1}'), ('42', false, '{"a": 1}'), ('42', false, '{"a" : 1}'),
	('42', false, '[]'), (null, true, null)$$, 'are journaled as they are');
select throws_ok($$select pgcast.publish('u1', 'chat', 'no json')$$, '22P02', null, 'a text that is no JSON is refused');

create role pgcast_test_publisher;
grant pgcast_test_publisher to current_user;
select throws_ok($$set role pgcast_test_publisher; select pgcast.publish('u1', 'chat', '1')$$, '42501', 'permission denied for schema pgcast',
	'publish without the right is refused');
reset role;
select pgcast.grant_publish('pgcast_test_publisher');
select lives_ok($$set role pgcast_test_publisher; select pgcast.publish('u1', 'chat', '1'), pgcast.publish(1, 'chat', '1'::jsonb)$$,
	'grant_publish gives the right to call it in every form');
select throws_ok($$select pgcast.reset_type('chat')$$, '42501', 'permission denied for function reset_type', 'but no other function');
reset role;

truncate pgcast.event;
select pgcast.reset_type('chat');
select results_eq('select broadcast, type, op from journal', $$values (true, 'chat', 'reset')$$, 'reset_type is an event for everybody');
select throws_ok($$select pgcast.reset_type('a,b')$$, '22023', null, 'reset_type of an invalid type is refused');

select * from finish();
rollback;
