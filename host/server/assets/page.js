'use strict';
// The theme first, to avoid a flash.
const root = document.documentElement;
const themes = ['auto', 'light', 'dark'];
let theme = 'auto', refresh = () => {};
try { theme = localStorage.getItem('theme') || theme; } catch { /* Not stored. */ }
const paint = () => { if (theme === 'auto') delete root.dataset.theme; else root.dataset.theme = theme; };
root.classList.add('scripted');
paint();

const one = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const made = (name, properties = {}, ...children) => {
	const element = Object.assign(document.createElement(name), properties);
	element.append(...children);
	return element;
};
const say = (text) => { one('#announce').textContent = text; };

function ago(seconds) {
	const [unit, size] = seconds < 60 ? ['s', 1] : seconds < 3600 ? ['min', 60] : seconds < 172800 ? ['h', 3600] : ['d', 86400];
	return seconds < 1 ? 'now' : `${Math.floor(seconds / size)} ${unit} ago`;
}

function updateTimes(within = document) {
	const today = new Date().toDateString();
	for (const time of all('time', within)) {
		const at = new Date(time.dateTime);
		const text = 'ago' in time.dataset ? ago((Date.now() - at) / 1000)
			: at.toDateString() === today ? at.toLocaleTimeString() : at.toLocaleString();
		if (time.textContent !== text) time.textContent = text;
	}
}

// Merges a new tree into the old one: focus, typed texts and scrolling stay.

function morph(old, fresh) {
	if (old.isEqualNode(fresh)) return;
	if (old.nodeName !== fresh.nodeName) { old.replaceWith(fresh); return; }
	if (old.nodeType !== Node.ELEMENT_NODE) { old.nodeValue = fresh.nodeValue; return; }
	if ('keep' in old.dataset) return;
	for (const { name } of [...old.attributes]) {
		if (!fresh.hasAttribute(name) && !['open', 'aria-busy'].includes(name)) old.removeAttribute(name);
	}
	for (const { name, value } of fresh.attributes) old.setAttribute(name, value);
	const staying = new Set([...fresh.children].map((child) => child.id));
	const known = new Map();
	for (const child of [...old.children]) {
		if (!child.id) continue;
		if (staying.has(child.id)) known.set(child.id, child); else child.remove();
	}
	let at = old.firstChild;
	for (const child of [...fresh.childNodes]) {
		const match = child.id ? known.get(child.id) : at && !at.id && at.nodeName === child.nodeName ? at : null;
		if (!match) { old.insertBefore(child, at); continue; }
		if (match === at) at = at.nextSibling; else old.insertBefore(match, at);
		morph(match, child);
	}
	while (at) { const next = at.nextSibling; at.remove(); at = next; }
}

// Refreshes a page while it is visible.

function live(page) {
	const { parts, events, names } = page.dataset;
	let last = page.dataset.after, stream = null, waiting = false, loading = Promise.resolve(), free = 0, ticks = 0, fine = true, gone = false;
	const show = (is) => {
		fine = is;
		const sign = one('#live'), text = fine ? 'live' : 'reconnecting';
		sign.classList.toggle('off', !fine);
		if (sign.textContent !== text) sign.textContent = text;
	};
	// The next page shows its outcome.
	const over = () => {
		gone = true;
		stream?.close();
		location.reload();
	};
	async function load() {
		const began = performance.now();
		try {
			const answer = await fetch(parts, { headers: { Accept: 'text/html' } });
			if (answer.redirected) { location.reload(); return; }
			if (answer.status === 404 && events) { over(); return; }
			if (!answer.ok) throw answer;
			const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html');
			updateTimes(fresh);
			const number = (event) => Number(event?.dataset.event || 0), newest = number(one('[data-event]', page));
			for (const part of [...fresh.body.children]) morph(document.getElementById(part.id) || page.appendChild(part), part);
			document.title = one('[data-title]', page)?.dataset.title || document.title;
			if (!parts.includes('before=')) {
				const news = all('[data-event]', page).filter((event) => number(event) > newest);
				if (news.length) say(news.slice(0, 3).map((event) => one('.what', event).textContent).join('. '));
			}
			if (!events || stream?.readyState === EventSource.OPEN) show(true);
		} catch {
			show(false);
		}
		// Slow parts are loaded less often.
		free = performance.now() + Math.max(100, 4 * (performance.now() - began));
	}
	refresh = () => {
		if (gone || document.hidden || waiting) return;
		waiting = true;
		setTimeout(() => { waiting = false; loading = loading.then(load); }, Math.max(150, free - performance.now()));
	};
	function follow() {
		if (!events || gone || document.hidden) return;
		stream?.close();
		const mine = stream = new EventSource(`${events}?after=${last}`);
		mine.onopen = () => { show(true); refresh(); };
		mine.onerror = () => {
			show(false);
			if (mine.readyState === EventSource.CLOSED) setTimeout(() => { if (stream === mine) follow(); }, 5000);
		};
		for (const name of names.split(' ')) {
			mine.addEventListener(name, (event) => {
				last = event.lastEventId || last;
				if (name === 'infradrop') mine.close();
				refresh();
			});
		}
	}
	document.addEventListener('visibilitychange', () => {
		if (document.hidden) stream?.close(); else { refresh(); follow(); }
	});
	// Not every change is an event.
	setInterval(() => { if (!events || !fine || ++ticks % 3 === 0) refresh(); }, 3000);
	follow();
}

async function ask(method, url, { body, headers = {} } = {}) {
	let answer;
	try {
		answer = await fetch(url, { method, body, headers: { Accept: 'application/json', 'Content-Type': 'application/yaml', ...headers } });
	} catch {
		throw { text: 'The service does not answer.' };
	}
	if (answer.status === 401) { location.assign('/ui/login'); throw { text: 'Sign in again.' }; }
	const value = await answer.json().catch(() => ({}));
	if (answer.ok) return value;
	const text = value.detail || value.message || `${answer.status} ${answer.statusText}`;
	throw { text: value.help ? `${text}\n${value.help}` : text, problems: value.problems, status: answer.status };
}

async function send(form) {
	const { method, url, prefer, done, confirm: question } = form.dataset;
	if (form.ariaBusy || (question && !confirm(question))) return;
	const alert = one('.alert', form) || one('.alert', form.closest('section'));
	alert.hidden = true;
	form.setAttribute('aria-busy', 'true');
	try {
		await ask(method, url.replace('{}', form.elements.count?.value), { headers: prefer ? { Prefer: prefer } : {} });
		form.closest('dialog')?.close();
		if ('reload' in form.dataset) { location.reload(); return; }
		say(done);
		refresh();
	} catch (problem) {
		alert.textContent = problem.text || problem;
		alert.hidden = false;
	} finally {
		form.removeAttribute('aria-busy');
	}
}

function editor(form) {
	const text = one('textarea', form), gutter = one('.gutter', form), result = one('.result', form);
	const { id, etag } = form.dataset, isNew = !etag;
	let marks = {};
	const lines = () => text.value.split('\n');
	const number = () => {
		gutter.replaceChildren(...lines().map((_, at) => made('span', { textContent: at + 1, className: marks[at + 1] || '' })));
		gutter.scrollTop = text.scrollTop;
	};
	const jump = ({ line, column, end_line, end_column }) => {
		const place = (line, column) => lines().slice(0, line - 1).join('\n').length + (line > 1) + column - 1;
		const from = place(line, column || 1), to = end_line ? place(end_line, end_column) : from;
		text.focus();
		text.setSelectionRange(from, to > from ? to : place(line, (lines()[line - 1] || '').length + 1));
		text.scrollTop = (line - 6) * 20;
	};
	const show = (title, content) => {
		one('h2', result).textContent = title;
		one('.found', result).replaceChildren(content);
		result.hidden = false;
		number();
		one('h2', result).focus();
	};
	const list = (problems) => made('ol', {}, ...problems.map((problem) => {
		const { severity, message, line, help } = problem;
		const item = made('li', { className: severity }, `${severity}: ${message}`);
		if (line) {
			item.prepend(made('button', { type: 'button', textContent: `line ${line}`, onclick: () => jump(problem) }), ' ');
			if (marks[line] !== 'error') marks[line] = severity;
		}
		if (help) item.append('\n', made('span', { className: 'quiet', textContent: help }));
		return item;
	}));
	const table = (actions) => {
		const heads = ['Action', 'Node', 'Reason', 'After'];
		const row = ({ kind, node, count, reason, after = [], on = [] }) =>
			made('tr', {}, ...[on.length ? `${kind} on ${on.join(' or ')}` : kind, count ? `${node} × ${count}` : node, reason, after.join(', ') || '–'].map((textContent, at) => {
				const cell = made('td', {}, made('span', { textContent }));
				cell.dataset.label = heads[at];
				return cell;
			}));
		return made('table', { className: 'cards' },
			made('thead', {}, made('tr', {}, ...heads.map((textContent) => made('th', { scope: 'col', textContent })))),
			made('tbody', {}, ...actions.map(row)));
	};
	const tasks = {
		async check(body) {
			const { warnings = [] } = await ask('POST', '/validate', { body });
			show(warnings.length ? 'Valid, with warnings' : 'The description is valid', list(warnings));
		},
		async plan(body, replace) {
			const url = `/infrastructures/${id}`;
			const { actions } = await (isNew ? ask('PUT', `${url}?dry_run=true`, { body }) : ask('POST', `${url}/plan?${replace}`, { body }));
			let todo = 0;
			for (const { kind, count = 1 } of actions) if (kind != 'check') todo += count;
			show(todo ? `${todo} to do; nothing has changed yet` : 'Nothing to do', table(actions));
		},
		async build(body, replace, failure) {
			const headers = isNew ? { 'If-None-Match': '*' } : { 'If-Match': etag };
			await ask('PUT', `/infrastructures/${id}?on_failure=${failure}${replace && '&'}${replace}`, { body, headers });
			history.replaceState(0, '', `/ui/infrastructures/${id}/change?tried`);
			location.assign(`/ui/infrastructures/${id}`);
		},
		async import(body) {
			await ask('POST', '/definitions', { body });
			location.reload();
		},
	};
	for (const button of all('[data-does]', form)) {
		button.onclick = async () => {
			const data = new FormData(form), replaced = data.getAll('replace').join(',');
			marks = {};
			button.disabled = true;
			try {
				await tasks[button.dataset.does](text.value, replaced && `replace=${replaced}`, data.get('on_failure'));
			} catch (problem) {
				const problems = problem.problems || [], count = problems.length;
				if (problem.status === 412) problem.text = isNew ? 'It exists already.' : 'It has changed since. Reload this page.';
				if (count) show(count === 1 ? '1 problem' : `${count} problems`, list(problems));
				else show('Failed', made('p', { className: 'alert', textContent: problem.text || problem }));
			} finally {
				button.disabled = false;
			}
		};
	}
	text.oninput = () => {
		if (lines().length === gutter.childElementCount && !Object.keys(marks).length) return;
		marks = {};
		number();
	};
	text.onscroll = () => { gutter.scrollTop = text.scrollTop; };
	number();
}

document.addEventListener('DOMContentLoaded', () => {
	const toggle = one('#theme');
	const name = () => { toggle.textContent = `Theme: ${theme}`; };
	toggle.onclick = () => {
		theme = themes[(themes.indexOf(theme) + 1) % 3];
		try { localStorage.setItem('theme', theme); } catch { /* Until the page is left. */ }
		paint();
		name();
	};
	name();
	updateTimes();
	setInterval(updateTimes, 1000);
	for (const span of all('[data-origin]')) span.textContent = location.origin;
	document.addEventListener('submit', (event) => {
		const form = event.target;
		if (form.dataset.url) send(form);
		if (form.dataset.url || 'editor' in form.dataset) event.preventDefault();
	});
	document.addEventListener('click', ({ target }) => {
		if (target.dataset.opens) document.getElementById(target.dataset.opens).showModal();
		if ('closes' in target.dataset) target.closest('dialog').close();
	});
	for (const form of all('[data-must]')) {
		const { must, or } = form.dataset;
		form.oninput = () => { one('.danger', form).disabled = ![must, or].includes(form.elements.sure.value.trim()); };
	}
	all('[data-live]').forEach(live);
	all('[data-editor]').forEach(editor);
});
