-- pgcast.watch(columns => …): the columns that clients may see.
begin;
select plan(5);

create table account (id int primary key, uid text, name text, password text, hidden text);
create table account_p (id int primary key, uid text, name text, password text, hidden text) partition by range (id);
create table account_p1 partition of account_p default;
create index on account (uid, id);
create index on account_p (uid, id);
select pgcast.watch('account', columns => array['name', 'id']::name[]),
	pgcast.watch('account_p', columns => array['name', 'id']::name[]);
insert into account values (1, 'ann', 'n', 'secret', 'secret');
insert into account_p table account;
update account set name = 'm', password = 'secret2';
update account_p set name = 'm', password = 'secret2';
update account set uid = 'bob';
delete from account;
delete from account_p;
select is_empty($$select * from pgcast.event where data::text || coalesce(old::text, '') ~ 'secret|uid'$$,
	'only these columns are journaled');
select results_eq($$select op, data::text, old::text from pgcast.event where type = 'account' order by id$$,
	$$values ('insert', '{"name":"n","id":1}', null), ('update', '{"name":"m","id":1}', '{"name":"n","id":1}'),
		('delete', '{"name":"m","id":1}', null), ('insert', '{"name":"m","id":1}', null),
		('delete', '{"name":"m","id":1}', null)$$,
	'in the order of the argument');
select results_eq($$select op, data::text, old::text from pgcast.event where type = 'account_p' order by id$$,
	$$values ('insert', '{"name":"n","id":1}', null), ('update', '{"name":"m","id":1}', '{"name":"n","id":1}'),
		('delete', '{"name":"m","id":1}', null)$$,
	'by row triggers, too');
insert into account values (1, 'ann', 'n', 'secret', 'secret');
select is(pgcast.init('account', 'ann'), '{"type":"account","op":"init","key":["id"],"more":false,"data":[{"name":"n","id":1}]}', 'init returns only these columns');
select pgcast.watch('account', columns => array['password']::name[]);
truncate pgcast.event;
update account set password = 'public';
select is((select data::text from pgcast.event), '{"password":"public"}', 'another call of watch changes them');

select * from finish();
rollback;
